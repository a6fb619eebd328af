"""What counting adds to inference, and scales and flips to a single scale: `python -m bench.evaluation OPTIONS`.

The options are those of `deeplab_load.evaluate` (--checkpoint, --dataset, --eval_scales, ...); the first 32 images of
the split are taken. Making label maps and counting them take turns (A B A B); shown are milliseconds of processor time
for an image, which other processes hardly change, and the median of the turns' ratios to inference. Where --eval_scales
or --eval_flip is given, inference with them takes turns with a single scale too.
"""

import dataclasses
import statistics
import time

from deeplab_load import appraisal
from deeplab_load.commands import run_command
from deeplab_load.config import EvaluateConfig
from deeplab_load.data.preparation import find_spec, prepare
from deeplab_load.evaluation.assessment import assess
from deeplab_load.evaluation.trained import locate

TURNS = 3
IMAGES = 32


def processor_time(work) -> tuple[float, object]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def job(config: EvaluateConfig) -> None:
    location = locate(config.model, config.checkpoints_dir)
    spec = find_spec(config.dataset, data_dir=config.data_dir, manual_dir=config.source)
    examples = prepare(spec.name, data_dir=config.data_dir, manual_dir=config.source).examples(
        config.split or spec.evaluation_split
    )
    examples = examples.subset(examples.ids[:IMAGES])
    plain = dataclasses.replace(config, eval_scales=(1.0,), eval_flip=False)
    many = plain != config
    models = [appraisal.open_for(c, location, spec, c.eval_crop_size) for c in ([plain, config] if many else [plain])]
    for model in models:
        list(model.predictions(examples.subset(examples.ids[:2]), 1))  # Traced once, outside the turns.
    times: dict[str, list[float]] = {'inference': []}
    for _ in range(TURNS):
        seconds, maps = processor_time(lambda: list(models[0].predictions(examples, config.eval_batch_size)))
        times['inference'].append(seconds)
        for name, width in (('confusion', 0.0), ('confusion and boundaries', config.boundary_width)):
            seconds, _ = processor_time(lambda m=maps, w=width: assess(m, spec, boundary_width=w, worst=config.worst))
            times.setdefault(name, []).append(seconds)
        if many:
            seconds, _ = processor_time(lambda: list(models[1].predictions(examples, config.eval_batch_size)))
            times.setdefault('inference, scales and flips', []).append(seconds)
    for name, seconds in times.items():
        ratio = statistics.median(s / i for s, i in zip(seconds, times['inference'], strict=True))
        print(f'{name:30s} {1000 * statistics.median(seconds) / len(examples):9.2f} ms  {100 * ratio:8.2f} %')


if __name__ == '__main__':
    run_command(EvaluateConfig, job)
