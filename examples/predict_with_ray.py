"""Segment a folder on a cluster of Ray: each worker holds the model and takes pictures as they come.

    pip install "ray[data]"
    python examples/predict_with_ray.py MODEL FOLDER OUTPUT [--workers 2]

Data: a folder of pictures; MODEL is a file of `kseg train` or `kseg export`, which every worker can read, as
FOLDER and OUTPUT. Ray starts the workers where the cluster has room, hands pictures out, and starts one anew
that died. Prints how many were segmented and how many failed, with the reasons. Without a cluster Ray runs on
this machine; a worker takes some seconds and half a gigabyte to start, on two cores two share the work. For a
queue like SLURM's no Ray is needed: `examples/guides/many_pictures.md`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kseg.inference.inputs import find_pictures
from kseg.results.jobs import find_jobs, with_targets


class Segmenter:
    """A worker: the model stays open."""

    def __init__(self, model, output):
        from kseg.commands.predict import predict_files  # TensorFlow loads in the worker alone

        self.model, self.output, self.predict_files = model, Path(output), predict_files

    def __call__(self, batch):
        """Segment pictures; return of each what went wrong, "" for nothing."""
        problems = []
        for name, path in zip(batch["name"], batch["path"], strict=True):
            folder = (self.output / str(name)).parent
            try:
                self.predict_files(self.model, str(path), folder, overwrite=True)
                problems.append("")
            except (OSError, ValueError) as error:
                problems.append(str(error))
        return {"path": batch["path"], "problem": problems}


def main():
    """Segment a folder by some workers."""
    import ray  # the workers do not need its data sets

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    found = find_pictures(arguments.folder)
    with_targets(find_jobs(arguments.folder, Path(arguments.output)), ["mask"])  # no two of one name
    rows = [{"name": name, "path": str(path.absolute())} for name, path in found.items()]
    model, output = (str(Path(path).absolute()) for path in (arguments.model, arguments.output))
    pictures = ray.data.from_items(rows, override_num_blocks=4 * arguments.workers)
    results = pictures.map_batches(
        Segmenter,
        fn_constructor_args=(model, output),
        batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=arguments.workers),
    ).take_all()
    failed = [each for each in results if each["problem"]]
    for each in failed:
        print(each["problem"])
    print(f"{len(results) - len(failed)} segmented, {len(failed)} failed, by {arguments.workers} workers")


if __name__ == "__main__":
    main()
