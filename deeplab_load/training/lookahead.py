"""Drives Algorithm 3, or its baseline: writes each event, makes each state durable, and goes on from the last one."""

from collections.abc import Callable, Iterator
from typing import Any

from deeplab_load.lookahead import algorithm, events
from deeplab_load.lookahead.state import PROPAGATE, Limits, LoadState
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.players import TensorFlowPlayers
from deeplab_load.training.stopping import StopSignal

Algorithm = Callable[[TensorFlowPlayers, LoadState, Limits], Iterator[algorithm.Step]]
Watch = Callable[[LoadState, events.Event], None]


def run_lookahead(
    players: TensorFlowPlayers,
    limits: Limits,
    run: RunDirectory,
    *,
    watch: Watch,
    stop: StopSignal,
    decide: Algorithm = algorithm.load,
) -> LoadState:
    """Runs Algorithm 3 (or another `decide`) from the durable state to its end and returns the last state.

    The run directory's state must hold `load` (a LoadState). `watch` sees each state and event once it is durable.

    Raises:
      Stopped: the run was asked to stop; the state of the last event is durable.
    """
    record = run.read_state()
    state = LoadState.from_json(record['load'])
    _resume(players, record, state)
    steps = decide(players, state, limits)
    for state, event in steps:
        with players.stopwatch('saving'):
            _make_durable(players, run, state, event)
        watch(state, event)
        stop.check()
    run.prune()  # Of a run that was killed while its last state deleted what it did not need.
    return state


def repair_sets(players: TensorFlowPlayers, run: RunDirectory) -> None:
    """Makes the damaged shards of the buffer's label-map sets again; `run_lookahead` restores the players."""
    for map_set in LoadState.from_json(run.read_state()['load']).buffer:
        players.repair(map_set)


def _resume(players: TensorFlowPlayers, record: dict[str, Any], state: LoadState) -> None:
    """Gives the players the weights that belong to the state."""
    players.stopwatch.start_from(record.get('seconds', {}))
    players.restore(state.g_s)
    if record.get('discriminator'):
        players.restore_discriminator(record['discriminator'])
    if record.get('working'):  # Where D trains in a propagation, it holds a later D.
        players.restore_working_state(record['working'])


def _make_durable(players: TensorFlowPlayers, run: RunDirectory, state: LoadState, event: events.Event) -> None:
    """Stores what the state needs, then the event, then the state."""
    # The training of D is over; a result is of a run that had ended, and now goes on under a higher bound.
    record = {k: v for k, v in run.read_state().items() if k not in ('training', 'result')}
    # Slots that are kept are in the working state of the last propagation until there is another.
    record = {**record, 'load': state.to_json(), 'working': record.get('working') if players.keeps_slots else None}
    if state.phase == PROPAGATE:
        record['working'] = f'working-{state.propagation}'
        players.save_working_state(record['working'])
    if isinstance(event, events.Discriminator):
        record['discriminator'] = f'discriminator-{event.cycle}'
        players.save_discriminator(record['discriminator'])
    record |= {'events_bytes': run.append(event), 'seconds': dict(players.stopwatch.seconds)}
    models = [record[key] for key in ('working', 'discriminator') if record.get(key)]
    run.write_state(record, snapshots=[*state.snapshots(), *models], sets={m.name for m in state.buffer})
