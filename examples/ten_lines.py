"""Evolve a packing of 26 circles from Python: no key, no cluster, a minute at most."""

import vevolve

run = vevolve.evolve("circle_packing/grid", model="offline", evaluations=30, workers="inline")
for event in run:
    if event.kind == "told" and event.hypervolume_gain > 0:
        print(f"{event.iteration:3}  +{event.hypervolume_gain:.4f}  {event.idea}")
for record in run.archive.front("select"):
    print(record.id[:10], record.points[0]["sum_radii"], record.idea)
