"""The main job: `python -m deeplab_load.main --dataset=pascal_voc --flagfile=flags/voc.cfg`.

Data, segmentor, baseline, LoAd (Algorithm 3) or alternating steps (Luc et al.), evaluation of the best model,
SavedModel. A stopped run goes on when the same command is given again.
"""

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import Config


def main() -> None:
    """Entry of the command: flags, then the job."""
    run_command(Config, job)


def job(config: Config) -> None:
    """Runs the main job from its beginning, or from where its run directory stands."""
    # TensorFlow is loaded once the flags are right.
    networks, stages = (load_quietly(f'deeplab_load.{name}') for name in ('networks', 'stages'))
    with stages.run_directory(config) as run:
        with run.distribution.scope():
            segmentor, restored = networks.build_segmentor(config, run.directory)
            discriminator = networks.build_discriminator(config, run.directory, run.distribution)
        run.require_same_weights(segmentor, discriminator)
        data = stages.prepare_data(config, run)
        stages.start(config, run, segmentor, restored, data)
        judge = stages.evaluator(config, run, segmentor, data)
        baseline = stages.evaluate_baseline(run, judge, data)
        best = 'g0'
        if config.algorithm != 'pixelwise':
            state = stages.train_adversarially(config, run, judge, segmentor, discriminator, data)
            stages.evaluate_best(config, run, judge, data, baseline, state)
            best = state.g_best
        stages.report(run)  # First: an export may be what fails.
        stages.export(config, run, segmentor, data, best)


if __name__ == '__main__':
    main()
