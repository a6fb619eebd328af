"""The zoo's published figures beside our own, each measured under the setting of its row."""

import dataclasses

from deeplab_load.appraisal import appraise
from deeplab_load.catalog import CATALOG, PublishedResult, ZooRow, row
from deeplab_load.config import EvaluateConfig
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import get_spec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.assessment import Assessment
from deeplab_load.reporting.progress import say
from deeplab_load.reporting.tables import percent, table
from deeplab_load.restore.download import downloaded

HEADER = ('checkpoint', 'split', 'stride', 'scales', 'flip', 'published', 'measured', 'difference', 'images')
# The sizes of the whole splits that the published figures are of.
IMAGES = {'pascal_voc': 1449, 'cityscapes': 500, 'ade20k': 2000}


def compared(config: EvaluateConfig) -> str:
    """A table of the published results of one checkpoint, or of all, and a line for each that cannot be measured here.

    Archives are looked for in `checkpoints_dir`, data in `data_dir`; a source of data belongs to `dataset`, or else to
    the one checkpoint's, and --vocdevkit to PASCAL VOC.
    """
    entries = [entry for entry in CATALOG if entry.results] if config.zoo == 'all' else [row(config.zoo or '')]
    if not entries[0].results:
        raise UserError(f'{config.zoo} is a backbone alone, for which no mIoU was published: name another one.')
    lines, missing = [], []
    for entry in entries:
        reasons = _missing(config, entry)
        possible = not reasons
        for result in entry.results:
            found, reason = None, ''
            if result.split == 'test':
                reason = _submission(entry, result)
            elif possible:
                found, reason = _measured(config, entry, result)
            lines.append(_line(entry, result, found))
            reasons += [reason] if reason else []
        missing += [f'{entry.name}: {"; ".join(reasons)}'] if reasons else []
    return '\n'.join([table(HEADER, lines), '', *missing]).rstrip()


def _measured(config: EvaluateConfig, entry: ZooRow, result: PublishedResult) -> tuple[Assessment | None, str]:
    """The assessment, told as soon as it is made, or why there is none: the other rows do without it."""
    try:
        found = appraise(_under(config, entry, result)).assessment
    except UserError as error:
        return None, str(error)
    if found:
        say(f'{entry.name}: mIoU {percent(found.metrics.miou)} %, published {result.miou:.2f} %.')
    return found, ''


def _line(entry: ZooRow, result: PublishedResult, found: Assessment | None) -> list[str]:
    flip = 'yes' if result.flip else 'no'
    cells = [entry.name, result.split, str(result.output_stride), _scales(result), flip, f'{result.miou:.2f}']
    if found is None:
        return [*cells, '-', '-', '-']
    miou = found.metrics.miou
    images = f'{found.images} of {IMAGES[entry.dataset]}'
    return [*cells, percent(miou), f'{100 * miou - result.miou:+.2f}', images]


def _missing(config: EvaluateConfig, entry: ZooRow) -> list[str]:
    """What of an archive and its data is not at hand, each with the command that gets it."""
    reasons = []
    try:
        downloaded(entry.name, config.checkpoints_dir)
    except UserError:
        reasons.append(f'get the archive with `python -m deeplab_load.zoo download {entry.name}`')
    try:
        prepare(entry.dataset, data_dir=config.data_dir, manual_dir=_source(config, entry), download=config.download)
    except UserError as error:
        spec = get_spec(entry.dataset)
        command = f'python -m deeplab_load.data check --dataset={spec.name} {spec.source_flag}=PATH'
        reasons.append(f'{str(error).rstrip(".")} (`{command}`)')
    return reasons


def _submission(entry: ZooRow, result: PublishedResult) -> str:
    """How to get a figure on a test split, whose labels its server keeps."""
    scales = f' --eval_scales={_scales(result)}' if len(result.scales) > 1 else ''
    return (
        f'let the test server measure what `python -m deeplab_load.evaluate --checkpoint={entry.name} --split=test '
        f'--dataset={entry.dataset} --output_stride={result.output_stride}{scales}{" --eval_flip" * result.flip} '
        '--submission_dir=FOLDER` writes'
    )


def _scales(result: PublishedResult) -> str:
    return ','.join(f'{scale:g}' for scale in result.scales)


def _source(config: EvaluateConfig, entry: ZooRow) -> str | None:
    if entry.dataset == 'pascal_voc' and config.vocdevkit:
        return config.vocdevkit
    return config.manual_dir if config.dataset in ('', entry.dataset) else None


def _under(config: EvaluateConfig, entry: ZooRow, result: PublishedResult) -> EvaluateConfig:
    """The options of a published result."""
    side = entry.longer_side
    return dataclasses.replace(  # type: ignore[call-arg]
        config,
        zoo=None,
        checkpoint=entry.name,
        dataset=entry.dataset,
        vocdevkit=None,
        manual_dir=_source(config, entry),
        split=result.split,
        submission_dir=None,
        output_stride=result.output_stride,
        eval_scales=result.scales,
        eval_flip=result.flip,
        eval_crop_size=(side, side) if side else (),
        min_resize_value=side,
        max_resize_value=side,
        resize_factor=result.output_stride if side else None,
        boundary_width=0.0,
        worst=0,
    )
