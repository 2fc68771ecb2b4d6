// From the microphone to a WAV file of 16 bits: what browsers record by themselves (WebM) few libraries read.

export function wav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

export class Recorder {
  // onBlock is told every block of samples and the seconds so far
  constructor(onBlock) { this.onBlock = onBlock; }

  async start() {
    if (!navigator.mediaDevices) throw new Error("The microphone needs HTTPS, or this machine's own address. A file can be chosen instead.");
    // what the browser would clean away is what the model should hear
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(error.name === "NotFoundError" ? "No microphone was found." : "The microphone may not be used. Allow it for this page.");
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/page/worklet.js");
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 1 });
    this.blocks = []; this.count = 0;
    tap.port.onmessage = ({ data }) => {
      this.blocks.push(data); this.count += data.length;
      this.onBlock(data, this.count / this.context.sampleRate);
    };
    this.context.createMediaStreamSource(this.stream).connect(tap);
    tap.connect(this.context.destination);  // silent: the processor writes nothing, but unconnected it would not run
  }

  async stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    const rate = this.context.sampleRate;
    await this.context.close();
    return wav(this.blocks, rate);
  }
}
