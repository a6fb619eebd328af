"""Preparation by Apache Beam, where it is installed: `pip install apache-beam`."""

import sys

import pytest

from deeplab_load.data.preparation import prepare
from deeplab_load.data.sources import Faults
from deeplab_load.errors import UserError

OPTIONS = ('runner=DirectRunner', 'direct_num_workers=2', 'direct_running_mode=multi_processing')

# Beam's own, and those of the libraries at the versions that it wants.
pytestmark = pytest.mark.filterwarnings('ignore')


def prepared(place, root, **options):
    return prepare('folder', data_dir=place, manual_dir=root, progress=False, **options)


@pytest.fixture
def beam():
    pytest.importorskip('apache_beam', reason='Apache Beam is not installed')


def test_beam_prepares_what_is_prepared_without_it(beam, make_folder, tmp_path):
    root = make_folder()
    alone, ours = prepared(tmp_path / 'alone', root), prepared(tmp_path / 'beam', root, beam=OPTIONS)
    assert ours.splits == alone.splits
    for split in alone.splits:
        one, other = alone.examples(split), ours.examples(split)
        assert (one.ids, one.sizes, one.fingerprint) == (other.ids, other.sizes, other.fingerprint)
        assert [one.encoded(i) for i in range(len(one))] == [other.encoded(i) for i in range(len(one))]
        assert alone.counts(split) == ours.counts(split)
    assert not list((tmp_path / 'beam').rglob('facts*'))
    assert prepared(tmp_path / 'beam', root).splits == alone.splits


def test_beam_tells_every_fault_and_leaves_nothing(beam, make_folder, tmp_path):
    root = make_folder()
    for name in ('im 3', 'im 5'):
        (root / f'masks/{name}.png').write_bytes(b'no mask')
    with pytest.raises(Faults) as caught:
        prepared(tmp_path / 'data', root, beam=OPTIONS)
    assert len(caught.value.sentences) == 2
    assert 'im 3.png is not a PNG file' in ''.join(caught.value.sentences)
    assert not list((tmp_path / 'data').rglob('*.array_record*'))


def test_a_runner_that_beam_has_not_is_told(beam, make_folder, tmp_path):
    with pytest.raises(UserError, match=r'--beam_options=runner=DirektRunner is not for Apache Beam: .*DirektRunner'):
        prepared(tmp_path / 'data', make_folder(), beam=('runner=DirektRunner',))


def test_only_files_are_prepared_by_beam(tmp_path):
    with pytest.raises(UserError, match='--beam_options is for images and label maps in a folder'):
        prepare('shapes', data_dir=tmp_path, progress=False, beam=OPTIONS)


def test_without_beam_its_name_is_told(make_folder, tmp_path, monkeypatch):
    monkeypatch.delattr('deeplab_load.data.on_beam', raising=False)
    monkeypatch.setitem(sys.modules, 'deeplab_load.data.on_beam', None)
    with pytest.raises(UserError, match='--beam_options needs Apache Beam: pip install apache-beam'):
        prepared(tmp_path / 'data', make_folder(), beam=OPTIONS)
