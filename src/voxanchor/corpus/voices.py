"""Synthetic speakers as numbers: what sets one voice apart from the next, and how it varies from day to day.

Ranges follow adult speech: median pitch about 110 Hz (men) and 200 Hz (women), formants about 15 % higher in women
(Hillenbrand et al. 1995, J. Acoust. Soc. Am. 97), 130 to 200 words a minute.
"""

from dataclasses import dataclass, replace

import numpy as np

ACCENTS = (
    "en-us",
    "en",  # British
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
"""eSpeak NG's English voices: American, British, Scottish, Received Pronunciation, Lancashire, West Midlands,
Caribbean, New York City."""

_FORMANTS = 9  # eSpeak numbers them 0 (below the first formant) to 8
_TILT_POINTS_HZ = (600, 1200, 2000, 3000)


@dataclass(frozen=True)
class Voice:
    """One speaker of the synthesiser.

    Attributes:
        accent: eSpeak NG language the voice speaks.
        pitch_hz: the voice's low and high pitch.
        formants_percent: frequency of formants 0 to 8 against eSpeak's own voice (100 = unchanged).
        heights_percent: strength of the same formants.
        widths_percent: bandwidth of the same formants.
        tilt_percent: strength of the spectrum at 600, 1200, 2000 and 3000 Hz.
        breath_percent: amount of breath noise at the formants.
        flutter: how unsteady the pitch is (eSpeak's default is 2).
        rate_wpm: words a minute.
        intonation: eSpeak's tune of a sentence, 1 to 4.
        stress_ms: lengthening of stressed syllables, in eSpeak's units.
    """

    accent: str
    pitch_hz: tuple[float, float]
    formants_percent: tuple[float, ...]
    heights_percent: tuple[float, ...]
    widths_percent: tuple[float, ...]
    tilt_percent: tuple[float, ...]
    breath_percent: float
    flutter: float
    rate_wpm: float
    intonation: int
    stress_ms: float

    def vary(self, generator: np.random.Generator) -> "Voice":
        """Return the same speaker on another occasion: pitch, rate, effort and articulation a little different."""
        low, high = self.pitch_hz
        shift = float(np.exp(generator.normal(0.0, 0.05)))
        span = (high - low) * float(np.exp(generator.normal(0.0, 0.15)))
        effort = float(generator.normal(0.0, 6.0))
        return replace(
            self,
            pitch_hz=(low * shift, low * shift + span),
            formants_percent=tuple(f * float(generator.normal(1.0, 0.008)) for f in self.formants_percent),
            tilt_percent=tuple(
                max(t + effort * float(np.log2(hz / 600)), 20.0)
                for t, hz in zip(self.tilt_percent, _TILT_POINTS_HZ, strict=True)
            ),
            breath_percent=max(self.breath_percent + float(generator.normal(0.0, 1.0)), 0.0),
            rate_wpm=self.rate_wpm * float(np.exp(generator.normal(0.0, 0.06))),
        )

    def variant(self) -> str:
        """Return the text of the eSpeak NG voice-variant file that gives this voice."""
        low, high = self.pitch_hz
        lines = ["language variant", "name speaker", f"pitch {low:.0f} {high:.0f}", f"flutter {self.flutter:.0f}"]
        lines += [
            f"formant {i} {frequency:.0f} {height:.0f} {width:.0f}"
            for i, (frequency, height, width) in enumerate(
                zip(self.formants_percent, self.heights_percent, self.widths_percent, strict=True)
            )
        ]
        tone = " ".join(f"{hz} {t:.0f}" for hz, t in zip(_TILT_POINTS_HZ, self.tilt_percent, strict=True))
        lines.append(f"tone {tone}")
        if round(self.breath_percent) > 0:
            lines.append("breath " + " ".join([f"{self.breath_percent:.0f}"] * 8))
        lines.append(f"intonation {self.intonation}")
        lines.append(f"stressAdd 0 0 0 0 0 0 {round(self.stress_ms)} {round(self.stress_ms)}")
        return "\n".join(lines) + "\n"


def draw_voice(generator: np.random.Generator) -> Voice:
    """Return a new speaker, half of them with a man's pitch and vocal tract, half with a woman's."""
    high_voice = bool(generator.random() < 0.5)
    low_hz = (165.0 if high_voice else 88.0) * float(np.exp(generator.normal(0.0, 0.16)))
    span = float(generator.uniform(1.25, 1.75))  # from a flat to a lively speaker
    tract = (1.13 if high_voice else 0.98) * float(np.exp(generator.normal(0.0, 0.055)))
    formants = 100.0 * tract * generator.normal(1.0, 0.035, _FORMANTS)
    heights = np.clip(100.0 * np.exp(generator.normal(0.0, 0.18, _FORMANTS)), 55.0, 160.0)
    widths = np.clip(100.0 * np.exp(generator.normal(0.05, 0.2, _FORMANTS)), 60.0, 180.0)
    slope = float(generator.normal(0.0, 14.0))
    tilt = (150.0, 130.0 + slope, 110.0 + 1.7 * slope, 105.0 + 2.3 * slope)
    breathy = bool(generator.random() < 0.5)
    return Voice(
        accent=ACCENTS[int(generator.integers(len(ACCENTS)))],
        pitch_hz=(low_hz, low_hz * span),
        formants_percent=tuple(float(f) for f in np.clip(formants, 75.0, 140.0)),
        heights_percent=tuple(float(h) for h in heights),
        widths_percent=tuple(float(w) for w in widths),
        tilt_percent=tuple(float(max(t, 30.0)) for t in tilt),
        breath_percent=float(generator.uniform(3.0, 25.0)) if breathy else 0.0,
        flutter=float(generator.uniform(0.0, 10.0)),
        rate_wpm=float(np.clip(generator.normal(165.0, 22.0), 120.0, 225.0)),
        intonation=int(generator.integers(1, 5)),
        stress_ms=float(generator.uniform(-30.0, 60.0)),
    )
