"""Folders of recordings: groups by path, one form for all, nothing changed without a remark."""

import shutil
import zipfile

import numpy as np
import pytest
from scipy.io import wavfile

from mlvae.data import fsdd, open_dataset, recordings
from mlvae.data.signals.spectrogram import LogMel
from mlvae.errors import InputError

RATE = 4000
WHOLE = {"validation": 0, "test": 0}
FORM = {"bands": 8, "frames": 6}


def tone(frequency, seconds=0.2, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.round(samples * 2**15).astype(np.int16))


@pytest.fixture
def root(tmp_path):
    for number, speaker in enumerate(("ann", "bob", "eve")):
        for take in range(4):
            sound = tone(200 + 200 * number, 0.15 + 0.02 * take)
            write(tmp_path / "sounds" / speaker / f"{take}.wav", sound)
    return tmp_path / "sounds"


def test_groups_factors_and_names_are_in_the_paths(root):
    splits = recordings(root, pattern="{speaker}/{take}.wav", group="speaker", **FORM, **WHOLE)
    data = splits.train
    assert data.shape == (8, 6) and data.group_names == ["ann", "bob", "eve"]
    assert data.names.tolist()[:5] == [f"ann/{i}.wav" for i in range(4)] + ["bob/0.wav"]
    assert data.factors["take"].tolist() == [0, 1, 2, 3] * 3
    by_take = recordings(
        root, pattern="{speaker}/{take}.wav", group="take", factors=["speaker"], **FORM, **WHOLE
    ).train
    assert by_take.group_names == ["0", "1", "2", "3"]
    assert by_take.factors["speaker"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    pairs = recordings(root, pattern="{s}/{t}.wav", group="s+t", **FORM, **WHOLE).train
    assert len(pairs.group_names) == 12 and pairs.group_names[0] == "ann+0"


def test_different_pairs_do_not_become_one_label(tmp_path):
    for path in ("a+b/c.wav", "a/b+c.wav"):
        write(tmp_path / path, tone(300))
    options = {"pattern": "{s}/{t}.wav", **FORM, **WHOLE}
    with pytest.raises(InputError, match=r"dataset\.group=s\+t .*'a\+b\+c'"):
        recordings(tmp_path, group="s+t", **options)
    assert len(recordings(tmp_path, group=["s", "t"], **options).train.groupings) == 2


def test_words_that_become_factors_are_printed_with_their_numbers(root, capsys):
    options = {"pattern": "{speaker}/{take}.wav", "group": "take", "factors": ["speaker"]}
    recordings(root, **options, **FORM, **WHOLE)
    assert "factor speaker: 0 ann, 1 bob, 2 eve" in capsys.readouterr().out


def test_frames_are_means_over_equal_pieces_of_time(root):
    data = recordings(root, bands=8, frames=3, **WHOLE).train
    spectrogram = LogMel(RATE, bands=8)(np.round(tone(400, 0.21) * 2**15) / 2**15)
    length = spectrogram.shape[1]
    for piece in range(3):
        start, end = piece * length // 3, -(-(piece + 1) * length // 3)
        expected = spectrogram[:, start:end].mean(1)
        np.testing.assert_allclose(data.x[7, :, piece], expected, atol=1e-4)


def test_seconds_cut_to_the_middle_and_pad_with_silence(root, capsys):
    data = recordings(root, features="wave", seconds=0.17, **WHOLE).train
    assert data.shape == (1, 680)
    assert (data.x[0, 0, :40] == 0).all() and (data.x[0, 0, -40:] == 0).all()  # of 0.15 s
    np.testing.assert_allclose(data.x[3, 0], tone(200, 0.21)[80:760], atol=1e-4)  # of 0.21 s
    out = capsys.readouterr().out
    assert "6 of 12 recordings are cut" in out and "3 of 12 recordings are padded" in out


def test_one_level_removes_the_loudness(tmp_path):
    write(tmp_path / "a" / "1.wav", tone(300))
    write(tmp_path / "b" / "1.wav", tone(300) / 8)
    waves = {
        level: recordings(tmp_path, features="wave", level=level, **WHOLE).train.x
        for level in ("keep", "rms")
    }
    rms = {level: x.square().mean((1, 2)).sqrt() for level, x in waves.items()}
    np.testing.assert_allclose(rms["rms"], [0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(rms["keep"][0] / rms["keep"][1], 8, rtol=1e-2)


def test_rates_are_refused_or_resampled(root, capsys):
    write(root / "bob" / "9.wav", tone(400, rate=8000), rate=8000)
    with pytest.raises(InputError, match=r"12 at 4,000 Hz, 1 at 8,000 Hz.*dataset\.rate=4000"):
        recordings(root, **FORM, **WHOLE)
    data = recordings(root, rate=RATE, **FORM, **WHOLE).train
    assert "1 of 13 recordings are resampled to 4000 Hz" in capsys.readouterr().out
    rows = {name: i for i, name in enumerate(data.names.tolist())}
    same, other = data.x[rows["bob/3.wav"]], data.x[rows["eve/3.wav"]]
    found = data.x[rows["bob/9.wav"]]
    assert (found - same).abs().mean() < 0.2 * (found - other).abs().mean()


def test_several_channels_are_averaged_with_a_remark(root, capsys):
    write(root / "bob" / "9.wav", np.stack((tone(400), tone(400)), 1))
    recordings(root, **FORM, **WHOLE)
    assert "1 of 13 recordings have several channels" in capsys.readouterr().out


def test_an_archive_is_read_like_its_folder(root, tmp_path):
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as file:
        for path in sorted(root.rglob("*.wav")):
            file.write(path, path.relative_to(root))
    folder, archive = (
        recordings(path, **FORM, **WHOLE).train for path in (root, tmp_path / "sounds.zip")
    )
    assert (folder.x == archive.x).all() and folder.names.tolist() == archive.names.tolist()


def test_the_test_may_be_whole_groups_or_takes(root):
    splits = recordings(root, **FORM, validation=0, test=["eve"])
    assert splits.unseen.group_names == ["eve"] and splits.train.group_names == ["ann", "bob"]
    options = {"pattern": "{speaker}/{take}.wav", "group": "speaker", **FORM}
    splits = open_dataset("recordings", root=root, test={"take": [0]}, validation=0, **options)
    assert splits.test.names.tolist() == ["ann/0.wav", "bob/0.wav", "eve/0.wav"]


# Bad input


def bad_file(root, kind):
    path = root / "ann" / "9.wav"
    if kind == "silent":
        write(path, np.zeros(800))
    elif kind == "short":
        write(path, tone(300, 0.01))
    elif kind == "empty":
        write(path, np.zeros(0))
    elif kind == "text":
        path.write_text("no sound")
    elif kind == "elsewhere":
        shutil.copy(root / "ann" / "0.wav", root / "9.wav")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("silent", r"1 of 13 .*ann/9\.wav is silent"),
        ("short", r"ann/9\.wav has 0\.01 s.*dataset\.window"),
        ("empty", r"ann/9\.wav has no samples"),
        ("text", r"ann/9\.wav is no whole WAV"),
        ("elsewhere", r"9\.wav does not match '\{group\}/\*\.wav'"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_or_left_out_by_name(root, capsys, kind, message):
    bad_file(root, kind)
    with pytest.raises(InputError, match=rf"{message}.*dataset\.skip=true"):
        recordings(root, **FORM, **WHOLE)
    assert len(recordings(root, skip=True, **FORM, **WHOLE).train) == 12
    out = capsys.readouterr().out
    assert "1 files are left out" in out and "9.wav" in out


def test_other_files_are_ignored_with_a_remark(root, capsys):
    (root / "readme.txt").write_text("words")
    (root / ".hidden.wav").write_text("words")
    assert len(recordings(root, **FORM, **WHOLE).train) == 12
    assert "1 files that are no .wav are ignored" in capsys.readouterr().out


def test_recordings_of_several_lengths_need_a_form(root):
    with pytest.raises(InputError, match=r"13 to 19 frames.*dataset\.seconds.*dataset\.frames"):
        recordings(root, bands=8, **WHOLE)
    with pytest.raises(InputError, match=r"600 to 840 samples; set dataset\.seconds"):
        recordings(root, features="wave", **WHOLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "speaker"}, r"dataset\.group .*group.*'speaker'"),
        ({"factors": ["take"]}, r"dataset\.factors .*'take'"),
        ({"features": "mfcc"}, r"dataset\.features .*'mfcc'"),
        ({"level": "peak"}, r"dataset\.level .*'peak'"),
        ({"seconds": 0}, r"dataset\.seconds .*0"),
        ({"frames": 0}, r"dataset\.frames .*0"),
        ({"features": "wave", "frames": 3}, r"dataset\.frames .*wave"),
        ({"rate": 0}, r"dataset\.rate .*0"),
        ({"bands": 200}, r"^dataset\.bands=200"),
        ({"hop": 0}, r"^dataset\.hop .*0"),
        ({"frames": 10**7}, r"dataset\.frames .*100000"),
        ({"group": ["group", "group"]}, r"dataset\.group .*'group' twice"),
        ({"group": []}, r"dataset\.group .*\[\]"),
        ({"skip": 1}, r"dataset\.skip .*1"),
    ],
)
def test_options_out_of_range_are_refused(root, options, message):
    with pytest.raises(InputError, match=message):
        recordings(root, **{"frames": 4, **WHOLE, **options})


def test_a_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "a.mp3").write_text("x")
    with pytest.raises(InputError, match=r"no \.wav"):
        recordings(tmp_path)
    with pytest.raises(InputError, match=r"none"):
        recordings(tmp_path / "none")


# The Free Spoken Digit Dataset


@pytest.fixture
def digits(tmp_path):
    for number, speaker in enumerate(("ann", "bob", "eve")):
        for digit in range(3):
            for take in range(7):
                sound = tone(150 + 100 * number + 50 * digit, 0.2 + 0.01 * take, 8000)
                name = f"{digit}_{speaker}_{take}.wav"
                write(tmp_path / "fsdd" / "recordings" / name, sound, 8000)
    return tmp_path


def test_takes_0_to_4_are_the_test(digits):
    splits = fsdd(digits, validation=0)
    assert splits.train.group_names == splits.test.group_names == ["ann", "bob", "eve"]
    assert len(splits.train) == 18 and len(splits.test) == 45
    assert {name[-5] for name in splits.test.names.tolist()} == set("01234")
    assert sorted(set(splits.train.factors["digit"].tolist())) == [0, 1, 2]
    assert splits.train.shape == (40, 32)


def test_unseen_speakers_are_unseen_groups_or_the_whole_test(digits):
    splits = fsdd(digits, unseen_speakers=["bob"], validation=0)
    assert splits.unseen.group_names == ["bob"] and len(splits.unseen) == 21
    assert splits.train.group_names == splits.test.group_names == ["ann", "eve"]
    splits = fsdd(digits, group="digit", unseen_speakers=["bob"], validation=0.1)
    assert splits.unseen is None and len(splits.test) == 21
    assert all("_bob_" in name for name in splits.test.names.tolist())
    assert not any("_bob_" in name for name in splits.train.names.tolist())
    assert splits.test.group_names == ["0", "1", "2"] and len(splits.validation) == 4


def test_unseen_digits_are_unseen_groups_or_the_whole_test(digits):
    splits = fsdd(digits, group=["speaker", "digit"], unseen_digits=[1], validation=0)
    assert splits.unseen is None and splits.test.groupings["digit"].names == ["1"]
    assert splits.train.groupings["digit"].names == ["0", "2"]
    assert len(splits.train) == 42 and len(splits.test) == 21
    splits = fsdd(digits, group=["digit", "speaker"], unseen_digits=["1"], validation=0)
    assert splits.unseen.group_names == ["1"] and len(splits.test) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "take"}, r"dataset\.group .*'take'"),
        ({"unseen_speakers": ["zoe"]}, r"ann.*'zoe'"),
        ({"unseen_speakers": ["zoe"], "group": "digit"}, r"ann.*'zoe'"),
        ({"unseen_speakers": "bob"}, r"dataset\.unseen_speakers .*'bob'"),
        ({"unseen_digits": 1}, r"dataset\.unseen_digits "),
        ({"unseen_digits": [8]}, "'8'"),
    ],
)
def test_unknown_speakers_and_groups_are_refused(digits, options, message):
    with pytest.raises(InputError, match=message):
        fsdd(digits, **options)


def test_the_real_dataset_has_all_recordings(data_root):
    splits = fsdd(data_root)
    assert len(splits.train) + len(splits.validation) == 2700 and len(splits.test) == 300
    assert splits.test.groups.sizes.tolist() == [50] * 6
