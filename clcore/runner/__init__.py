"""The background service: the queue, a process for every run at a time, restarts from checkpoints.

launch.py      starts the service when none is alive
service.py     the service: claims queued runs, looks after their processes; no torch in it
devices.py     how many runs each device takes at a time
load.py         how busy processors, memory, GPUs and disks are
spare.py       the workers that wait with torch imported
worker.py      the process of one run
recording.py   stores what a run reports, tells it what is wanted
processes.py   processes by (pid, creation time)
exits.py       exit statuses and signals as sentences
"""
