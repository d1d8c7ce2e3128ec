"""Small problems in two dimensions whose answers are known in closed form: what pictures on the Learn page show."""
