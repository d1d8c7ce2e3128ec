"""The Lab with colour benchmarks and with a person's own pictures: what the form says, refuses and asks for."""

from PIL import Image

from tests.pages.test_lab import words


def pictures(folder, each=6, classes=("cats", "dogs", "eels")):
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (8, 8), (40 * c, 10 * i, 90)).save(folder / name / f"{i}.png")


def test_the_form_asks_for_a_folder_says_what_is_in_it_and_runs_it(app, store, tmp_path):
    at = app(benchmark="image-folder")
    assert "image-folder needs a path" in words(at) and at.button(key="run").disabled
    at.text_input(key="option.path").set_value("nowhere at all").run()
    assert "path = nowhere at all does not exist" in words(at) and at.button(key="run").disabled
    pictures(tmp_path / "mine")
    at.text_input(key="option.path").set_value(str(tmp_path / "mine")).run()
    assert "tasks = 2 is not allowed: it must divide the 3 classes" in words(at)
    at.number_input(key="option.tasks").set_value(3).run()
    assert "3 classes · 18 pictures · cats 6, dogs 6, eels 6" in words(at)
    at.button(key="run").click().run()
    options = store.runs()[0].spec.benchmark_options
    assert options["path"] == str(tmp_path / "mine") and options["tasks"] == 3 and options["size"] == 32


def test_a_link_to_a_folder_is_that_folder(app, tmp_path):
    pictures(tmp_path / "mine", classes=("a", "b"))
    at = app(benchmark="image-folder", **{"option.path": str(tmp_path / "mine")})
    assert "2 classes · 12 pictures" in words(at) and not at.button(key="run").disabled


def test_any_network_of_torchvision_can_be_typed_for_features(app, store):
    at = app(benchmark="split-cifar100", **{"option.order": "superclass", "option.tasks": "20", "option.features": "resnet34"})
    assert "184.8 MB in memory" in words(at) or "185 MB in memory" in words(at)
    assert "CIFAR-100, 169 MB" in words(at)
    assert at.selectbox(key="option.features").value == "resnet34"
    assert {"none", "resnet18", "vit_b_16", "resnet34"} <= set(at.selectbox(key="option.features").options)
    at.button(key="run").click().run()
    options = store.runs()[0].spec.benchmark_options
    assert (options["features"], options["order"], options["tasks"]) == ("resnet34", "superclass", 20)


def test_small_data_sets_say_nothing_of_memory(app):
    assert "in memory" not in words(app())
