"""The options that say on how many devices a run computes; no step depends on them beyond rounding."""

from dataclasses import dataclass

from deeplab_load.errors import UserError
from deeplab_load.spellings import demand, host_and_port, option


@dataclass(frozen=True)
class Devices:
    """On how many devices and machines a run computes.

    Raises:
        UserError: a number of replicas that the strategy does not take.
    """

    strategy: str = option(
        'one_device',
        'Devices: one, all of this machine (mirrored), or of several machines that TF_CONFIG names (multi_worker).',
        ('one_device', 'mirrored', 'multi_worker'),
    )
    replicas: int = option(0, 'mirrored: number of devices, of CPUs where there is no GPU; 0: all GPUs.')
    data_service: str | None = option(
        None,
        'Let workers of tf.data service make the batches of training; address of their dispatcher, grpc://host:port.',
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers that do not go together."""
        demand(self.replicas >= 0, self, 'replicas', 'at least 0')
        if self.replicas and self.strategy != 'mirrored':
            raise UserError(f'--replicas={self.replicas} is for --strategy=mirrored; leave one of them out.')
        if self.data_service is not None:
            host_and_port(self.data_service, 'data_service')
