"""Kept audio embedded anew, when another model takes over."""

import io

import soundfile

from voxanchor.enrolments.records import Print, Reembedded
from voxanchor.errors import AudioError
from voxanchor.verification.embedding import embed
from voxanchor.verification.recordings import hear
from voxanchor.verification.verifier import Verifier


def reembed(verifier: Verifier) -> Reembedded:
    """Replace the enrolments of all other models by what the verifier's model makes of the audio that was kept.

    Whoever has recordings without audio keeps their old voiceprints, and is listed. A run that was stopped goes on.
    """

    def embedded(content: bytes) -> Print:
        try:
            samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
        except soundfile.SoundFileError as error:
            raise AudioError(f"kept audio cannot be read ({error})") from None
        heard = hear((samples, rate), "kept audio")
        if reason := verifier.unfit(heard):
            raise AudioError(reason)
        row = embed(verifier.embedder, [heard])[0]
        return Print(row, heard.quality.speech_s, heard.quality.snr_db)

    return verifier.store.reembed(None, verifier.fingerprint, embedded)
