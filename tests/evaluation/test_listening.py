"""A listening test: sounds at one loudness, blind names, and a page that Chromium takes listeners through."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
from conftest import Run, fault, melody

from synthnet.audio.files import read_audio, write_audio
from synthnet.evaluation.listening import ANCHOR, REFERENCE, low_pass, matched
from synthnet.evaluation.opinions import read_answers, read_key
from synthnet.score.midi import write_midi

RATE = 44_100
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def tone(hz: float, seconds: float = 1.2, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pieces, and sounds of two models: one for the trumpet, one for trumpet and cello."""
    for number in (1, 2):
        write_midi(melody(number), tmp_path / f"piece{number}.mid")
        for model, instrument, hz in (("one", "trumpet", 440), ("two", "trumpet", 660), ("two", "cello", 220)):
            place = tmp_path / model / instrument / f"piece{number}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            write_audio(place, tone(hz * number, level=0.02 * number), RATE)
    return tmp_path


WORDS = ("listen", "build", "--pieces", "piece1.mid,piece2.mid", "--seconds", 1, "--out", "test")
BOTH = ("--audio", "one=one", "--audio", "two=two")


def test_a_test_is_blind_loudness_matched_and_has_a_key(run: Run, folder: Path) -> None:
    built = run(*WORDS, *BOTH, "--hidden-reference", "--anchor")
    assert built.status == 0, built.err
    key = read_key(folder / "test" / "key.json")
    page = folder / "test" / "page"
    text = (page / "index.html").read_text()
    test = json.loads(text.partition('id="test">')[2].partition("</script>")[0])
    assert sorted(test["trials"][0]) == ["id", "reference", "samples"]
    places = sorted((trial["piece"], trial["instrument"]) for trial in key["trials"].values())
    assert places == [(p, i) for p in ("piece1", "piece2") for i in ("cello", "trumpet")]
    ids = [i for trial in key["trials"].values() for i in trial["sounds"]]
    assert {path.stem for path in page.glob("*.flac")} == set(ids)
    for word in ("trumpet", "cello", "piece1", "anchor", "key.json", '"one"', '"two"'):
        assert word not in text  # a listener may look into the page
    for trial in key["trials"].values():
        models = sorted(trial["sounds"][i]["model"] for i in trial["samples"])
        assert models == sorted([ANCHOR, REFERENCE, "two", *(["one"] if trial["instrument"] == "trumpet" else [])])
        meter = pyloudnorm.Meter(RATE)
        sounds = {i: read_audio(page / f"{i}.flac").samples for i in trial["sounds"]}
        loudness = [meter.integrated_loudness(samples) for samples in sounds.values()]
        assert np.ptp(loudness) < 0.15
        assert {len(samples) for samples in sounds.values()} == {RATE}
        for i, about in trial["sounds"].items():
            assert ("rmse_cqt_db" in about) == (about["model"] in ("one", "two"))
            if about["model"] == REFERENCE:
                assert np.array_equal(sounds[i], sounds[trial["reference"]])


def test_orders_of_files_do_not_tell_the_model(run: Run, folder: Path) -> None:
    places = set()
    for number in range(6):
        assert run(*WORDS[:-1], f"test{number}", *BOTH, "--instruments", "trumpet").status == 0
        key = read_key(folder / f"test{number}" / "key.json")
        for trial in key["trials"].values():
            assert trial["samples"] == sorted(trial["samples"])
            places.add(trial["sounds"][trial["samples"][0]]["model"])
    assert places == {"one", "two"}  # 1 of 2,048 such tests fails by chance


def test_matched_keeps_to_the_true_peak() -> None:
    click = np.zeros(RATE, np.float32)
    click[::9000] = 1.0
    sounds = matched({"soft": tone(440, 1.0, 0.001), "click": click}, RATE)
    peak = max(float(np.abs(sound).max()) for sound in sounds.values())
    assert 0.7 < peak <= 10 ** (-1 / 20) + 1e-6
    meter = pyloudnorm.Meter(RATE)
    soft, loud = (meter.integrated_loudness(sound) for sound in sounds.values())
    assert soft == pytest.approx(loud, abs=0.15)


def test_low_anchor() -> None:
    def gain_db(hz: float) -> float:
        sound = tone(hz)
        inside = slice(2_000, -2_000)
        return 20 * float(np.log10(np.std(low_pass(sound)[inside]) / np.std(sound[inside])))

    assert abs(gain_db(3_200)) < 0.1
    assert gain_db(3_500) == pytest.approx(-6, abs=0.2)  # a windowed sinc has half the amplitude at its edge
    assert gain_db(3_900) < -50


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([*WORDS], ["nobody plays"]),
        ([*WORDS, "--audio", "one"], ["NAME="]),
        ([*WORDS, "--audio", "one=missing"], ["missing"]),
        ([*WORDS, "--audio", "reference=one"], ["reference"]),
        ([*WORDS, *BOTH, "--instruments", "tuba"], ["tuba", "trumpet, cello"]),
        ([*WORDS, *BOTH, "--post", "ftp://here"], ["ftp"]),
        ([*WORDS, *BOTH, "--abx", "--anchor"], ["--abx"]),
        ([*WORDS, "--model", "m=no-such"], ["no-such"]),
        ([*WORDS[:3], "piece1.mid,piece3.mid", *WORDS[4:], *BOTH], ["piece3.mid"]),
        ([*WORDS[:-1], "one", *BOTH], ["one", "there already"]),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(run: Run, folder: Path, words: list[Any], parts: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    fault(run(*words), *parts)
    assert sorted(folder.rglob("*")) == before


def test_an_unknown_instrument_has_no_teacher(run: Run, folder: Path) -> None:
    (folder / "one" / "trumpet").rename(folder / "one" / "tuba")
    fault(run(*WORDS, "--audio", "one=one"), "tuba", "teacher")


def test_a_missing_sound_leaves_nothing(run: Run, folder: Path) -> None:
    (folder / "two" / "cello" / "piece2.wav").unlink()
    fault(run(*WORDS, *BOTH), "piece2.wav")


def test_a_model_that_would_be_heard_nowhere_is_named(run: Run, folder: Path) -> None:
    fault(run(*WORDS, *BOTH, "--instruments", "cello"), "one: plays none of cello")
    assert not [path for path in folder.iterdir() if "test" in path.name]


# ---- In headless Chromium.


@contextlib.contextmanager
def served(folder: Path, posted: list[bytes]) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser saves files."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def browser(saved: Path) -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium with its driver here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=390,800"):
        options.add_argument(word)
    options.add_argument("--autoplay-policy=user-gesture-required")
    options.add_experimental_option("prefs", {"download.default_directory": str(saved)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Listener:
    """Someone before the page, with a mouse or a keyboard."""

    def __init__(self, driver: Any, keyboard: bool) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        self.driver, self.keyboard = driver, keyboard
        self.wait = WebDriverWait(driver, 60, poll_frequency=0.1)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def press(self, keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(keys)

    def tab_to(self, wanted: Any) -> None:
        """Move the focus by the Tab key alone."""
        from selenium.webdriver.common.keys import Keys

        for _ in range(60):
            if self.driver.switch_to.active_element == wanted:
                return
            self.press(Keys.TAB)
        raise AssertionError("Tab never reaches it")

    def use(self, wanted: Any) -> None:
        if self.keyboard:
            self.tab_to(wanted)
            self.press(" ")
        else:
            wanted.click()

    def hear(self, number: int) -> None:
        self.use(self.all("#sounds fieldset button")[number])
        note = "#sounds fieldset .row span"
        self.wait.until(lambda _: "✓" in self.all(note)[number].text)

    def rate(self, question: int, value: str) -> None:
        """Choose an answer of a question, by the arrow keys where there is no mouse."""
        from selenium.webdriver.common.keys import Keys

        group = self.all("#sounds .scale")[question].find_elements("css selector", "input")
        values = [one.get_attribute("value") for one in group]
        if not self.keyboard:
            group[values.index(value)].click()
            return
        self.tab_to(group[0])
        self.press(" ")
        for _ in range(values.index(value)):
            self.press(Keys.ARROW_DOWN)

    def next_enabled(self) -> bool:
        return bool(self.all("#next")[0].is_enabled())

    def begin(self, address: str) -> None:
        self.driver.get(address)
        self.use(self.all("#begin")[0])


def test_a_session_by_mouse_with_a_reload(run: Run, folder: Path, browser: Any) -> None:
    assert run(*WORDS, *BOTH, "--instruments", "trumpet", "--post", "/answers").status == 0
    key, posted = read_key(folder / "test" / "key.json"), list[bytes]()
    by_mouse = Listener(browser, keyboard=False)
    with served(folder / "test" / "page", posted) as address:
        by_mouse.begin(address)
        for page in (1, 2):
            assert f"Page {page} of 2" in by_mouse.all("#heading")[0].text
            buttons = by_mouse.all("#sounds fieldset button")
            assert [one.is_enabled() for one in buttons] == [True, False, False]  # the reference first
            assert not any(one.is_enabled() for one in by_mouse.all("#sounds input"))
            by_mouse.hear(0)
            by_mouse.hear(1)
            by_mouse.rate(0, "4")
            assert not by_mouse.next_enabled()  # not everything was heard
            if page == 2:
                order = [one.get_attribute("id") for one in by_mouse.all("#sounds fieldset button")]
                browser.refresh()
                assert [one.get_attribute("id") for one in by_mouse.all("#sounds fieldset button")] == order
                assert "Page 2 of 2" in by_mouse.all("#heading")[0].text
                checked = [one.is_selected() for one in by_mouse.all("#sounds .scale input")]
                assert checked == [value == "4" for value in "54321"] + [False] * 5
            by_mouse.hear(2)
            assert not by_mouse.next_enabled()  # not everything was rated
            by_mouse.rate(1, "2")
            assert by_mouse.next_enabled()
            by_mouse.use(by_mouse.all("#next")[0])
        assert not posted
        by_mouse.use(by_mouse.all("#send")[0])
        by_mouse.wait.until(lambda _: "sent" in by_mouse.all("#status")[0].text)
        used = {
            (entry["name"].rpartition("/")[0] + "/")
            for entry in browser.execute_script(
                "return performance.getEntriesByType('resource').map(one => ({name: one.name}))"
            )
        }
        assert used <= {address}  # nothing comes from elsewhere
    (text,) = posted
    (folder / "answers.json").write_bytes(text)
    answers = read_answers(folder / "answers.json", key)
    assert sorted(answers.ratings.values()) == [2, 2, 4, 4]
    assert set(json.loads(text)) == {"format", "test", "kind", "listener", "answers"}


def test_a_session_by_keyboard(run: Run, folder: Path, browser: Any, saved: Path) -> None:
    assert run(*WORDS, "--audio", "two=two", "--instruments", "trumpet").status == 0
    key = read_key(folder / "test" / "key.json")
    by_keys = Listener(browser, keyboard=True)
    with served(folder / "test" / "page", []) as address:
        by_keys.begin(address)
        by_keys.hear(0)  # the first page by Tab, Space and arrows
        assert not by_keys.next_enabled()
        by_keys.hear(1)
        by_keys.rate(0, "3")
        by_keys.use(by_keys.all("#next")[0])
        by_keys.press("n")  # the second by letters and digits; nothing to hand in yet
        assert "Page 2 of 2" in by_keys.all("#heading")[0].text
        note = "#sounds fieldset .row span"
        for number, letter in enumerate("ra"):
            by_keys.press(letter)
            by_keys.wait.until(lambda _, number=number: "✓" in by_keys.all(note)[number].text)
        by_keys.press("5")
        by_keys.press("n")
        by_keys.use(by_keys.all("#download")[0])
        by_keys.wait.until(lambda _: list(saved.glob("answers-*.json")))
    (path,) = saved.glob("answers-*.json")
    assert sorted(read_answers(path, key).ratings.values()) == [3, 5]
    path.unlink()


def test_abx_knows_who_is_right(run: Run, folder: Path, browser: Any) -> None:
    words = [word if word != "piece1.mid,piece2.mid" else "piece1.mid" for word in WORDS]
    assert run(*words, "--audio", "two=two", "--instruments", "trumpet", "--abx", "--post", "/answers").status == 0
    key, posted = read_key(folder / "test" / "key.json"), list[bytes]()
    by_mouse = Listener(browser, keyboard=False)
    with served(folder / "test" / "page", posted) as address:
        by_mouse.begin(address)
        for number in range(3):
            by_mouse.hear(number)
        assert not by_mouse.next_enabled()
        by_mouse.rate(0, "b")
        by_mouse.use(by_mouse.all("#next")[0])
        by_mouse.use(by_mouse.all("#send")[0])
        by_mouse.wait.until(lambda _: posted)
    (folder / "answers.json").write_bytes(posted[0])
    ((name, right),) = read_answers(folder / "answers.json", key).right.items()
    x = json.loads(posted[0])["answers"][0]["x"]
    assert right == (key["trials"][name]["sounds"][x]["model"] == "two")
