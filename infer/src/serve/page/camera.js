// The camera: sends frames and receives paintings. At most two frames are in flight: one is painted, one is on its way.

/** Widths that `Pace` chooses from. */
const WIDTHS = [160, 240, 320, 400, 480, 560, 640, 800, 960, 1280, 1600, 1920];
/** Most frames that are sent but not answered: one is painted while the next is on its way. */
const WINDOW = 2;
/** Answers between two decisions about the size. */
const DECISION = 10;
/** A larger size is tried only if it should take less than this share of the time between frames. */
const HEADROOM = 0.75;

/** Chooses the width of frames so that a frame rate is kept. A pure function of times: it reads no clock. */
export class Pace {
  constructor(rate, width, widest = 1920) {
    this.rate = rate;
    this.widths = WIDTHS.filter((step) => step <= widest);
    this.width = this.nearest(width);
    this.backoff = 1;
    this.reset();
  }

  nearest(width) {
    return this.widths.findLast((step) => step <= width) ?? this.widths[0];
  }

  reset() {
    this.answers = 0;
    this.since = null;
    this.busy = 0;
  }

  /** Records a response received at `now` (ms) that took the server `busy` ms, and returns the width for the next frames. */
  answered(now, busy) {
    if (this.since === null) {
      this.since = now;
      return this.width;
    }
    this.answers += 1;
    this.busy += busy;
    if (this.answers < DECISION) return this.width;
    const rate = (1000 * this.answers) / Math.max(1, now - this.since);
    const mean = this.busy / this.answers;
    const at = this.widths.indexOf(this.width);
    const up = this.widths[at + 1];
    if (rate < 0.9 * this.rate && at > 0) {
      const fitting = this.width * Math.sqrt(rate / this.rate);
      this.width = Math.min(this.widths[at - 1], this.nearest(fitting));
      // A size that was too large is not tried again immediately.
      this.backoff = Math.min(32, 2 * this.backoff);
      this.wait = this.backoff;
    } else if (up && rate > 0.95 * this.rate && mean * (up / this.width) ** 2 < (HEADROOM * 1000) / this.rate) {
      this.wait = (this.wait ?? 1) - 1;
      if (this.wait <= 0) this.width = up;
    }
    this.reset();
    return this.width;
  }
}

/** Mean of the last values. */
class Recent {
  constructor(length) {
    this.length = length;
    this.values = [];
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > this.length) this.values.shift();
  }

  mean() {
    return this.values.reduce((sum, value) => sum + value, 0) / Math.max(1, this.values.length);
  }
}

/** A camera that is painted into a canvas. `tell` is called with `{stats}`, `{problem}` or `{ended}`. */
export class Camera {
  constructor(video, canvas, tell) {
    Object.assign(this, { video, canvas, tell });
    this.grabber = document.createElement("canvas");
    this.reset();
  }

  reset() {
    this.sent = new Map();
    this.number = 0;
    this.skipped = 0;
    this.painted = 0;
    this.mostInFlight = 0;
    this.latencies = new Recent(30);
    this.times = [];
    this.lastSent = 0;
    this.seen = -1;
  }

  /** Opens the camera and connects. `settings`: `{style, strength, keep_colors, rate, width, raw}`. */
  async start(settings) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw { title: "The camera cannot be used.", detail: "Browsers let only pages from this machine or over HTTPS use a camera.", hint: "Open the page as http://localhost, or put a proxy with TLS in front of the server." };
    }
    this.stop();
    this.reset();
    this.settings = settings;
    const size = { width: { ideal: settings.width || 1280 }, frameRate: { ideal: Math.max(30, settings.rate) } };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
    this.video.srcObject = this.stream;
    await this.video.play();
    const [track] = this.stream.getVideoTracks();
    track.addEventListener("ended", () => this.end("The camera was disconnected."));
    const { width = 640 } = track.getSettings();
    this.source = width;
    this.repace();
    await this.connect();
    this.watch();
  }

  repace() {
    const { rate, width } = this.settings;
    const fixed = width ? Math.min(width, this.source) : 0;
    this.fixed = fixed;
    this.pace = new Pace(rate, Math.min(480, this.source), this.source);
  }

  connect() {
    const query = new URLSearchParams(this.options());
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/live?${query}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", () => reject({ title: "The page cannot connect to the server.", detail: "The server was stopped, or too many cameras are open.", hint: "Try again in a moment." }));
      socket.addEventListener("close", (event) => {
        if (this.socket === socket) this.end(event.reason || "The connection to the server was lost.");
      });
      socket.addEventListener("message", (event) => this.receive(event.data));
    });
  }

  options() {
    const { style, strength, keep_colors } = this.settings;
    return { style, strength: String(strength), keep_colors: String(keep_colors), quality: "85" };
  }

  /** Changes style, strength, colours, rate or width while it runs. */
  change(settings) {
    if (!this.socket) return;
    const before = this.settings;
    this.settings = { ...before, ...settings };
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(this.options()));
    const { rate, width, style } = this.settings;
    if (rate !== before.rate || width !== before.width || style !== before.style) this.repace();
  }

  /** Calls `pump` for every frame of the camera. */
  watch() {
    const { socket, video } = this;
    const each = () => {
      if (this.socket !== socket) return;
      this.seen += 1;
      this.pump();
      video.requestVideoFrameCallback ? video.requestVideoFrameCallback(each) : setTimeout(each, 1000 / 60);
    };
    this.fresh = -1;
    each();
  }

  /** Sends the newest frame, if there is one and it may be sent. */
  pump() {
    const { socket, video, sent } = this;
    const now = performance.now();
    const due = now - this.lastSent >= 1000 / this.settings.rate - 4;
    if (!socket || socket.readyState !== WebSocket.OPEN || !video.videoWidth || this.seen === this.fresh) return;
    if (sent.size >= WINDOW || !due) return;
    // A frame in the browser's own queue is in flight too.
    if (socket.bufferedAmount > 0) return;
    this.fresh = this.seen;
    this.lastSent = now;
    const width = this.fixed || this.pace.width;
    const height = Math.max(1, Math.round((width * video.videoHeight) / video.videoWidth));
    const number = (this.number = (this.number + 1) >>> 0);
    sent.set(number, { at: now, width, height });
    this.mostInFlight = Math.max(this.mostInFlight, sent.size);
    this.grab(number, width, height, socket);
  }

  grab(number, width, height, socket) {
    const { grabber, video } = this;
    if (grabber.width !== width || grabber.height !== height) Object.assign(grabber, { width, height });
    const context = grabber.getContext("2d", { willReadFrequently: this.settings.raw, alpha: false });
    context.drawImage(video, 0, 0, width, height);
    const head = (w, h) => {
      const bytes = new DataView(new ArrayBuffer(8));
      bytes.setUint32(0, number, true);
      bytes.setUint16(4, w, true);
      bytes.setUint16(6, h, true);
      return bytes.buffer;
    };
    if (this.settings.raw) {
      const pixels = context.getImageData(0, 0, width, height).data;
      const message = new Uint8Array(8 + pixels.length);
      message.set(new Uint8Array(head(width, height)));
      message.set(pixels, 8);
      socket.send(message);
    } else {
      // Its number is already in `sent`, so no later frame can overtake it.
      grabber.toBlob((blob) => {
        if (blob && socket.readyState === WebSocket.OPEN) socket.send(new Blob([head(0, 0), blob]));
      }, "image/jpeg", 0.85);
    }
  }

  async receive(data) {
    if (typeof data === "string") {
      const { id, problem } = JSON.parse(data);
      if (id !== null) this.forget(id);
      return this.tell({ problem });
    }
    const head = new DataView(data, 0, 16);
    const [number, dropped, waited, painting] = [0, 4, 8, 12].map((at) => head.getUint32(at, true));
    const frame = this.sent.get(number);
    this.forget(number);
    // The next frame is sent while this one is decoded.
    this.pump();
    if (!frame) return;
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 16)], { type: "image/jpeg" }));
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
    }
    canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    bitmap.close();
    this.count(frame, dropped, waited / 1000, painting / 1000);
  }

  /** An answered frame, and those before it that will not be answered any more. */
  forget(number) {
    for (const id of this.sent.keys()) {
      if (id <= number) this.sent.delete(id);
    }
  }

  count(frame, dropped, waited, painting) {
    const now = performance.now();
    this.painted += 1;
    this.latencies.push(now - frame.at);
    this.times.push(now);
    while (this.times.length > 2 && now - this.times[0] > 2000) this.times.shift();
    if (!this.fixed) this.pace.answered(now, painting);
    const span = now - this.times[0];
    this.tell({
      stats: {
        rate: span > 0 ? (1000 * (this.times.length - 1)) / span : 0,
        latency: this.latencies.mean(),
        width: frame.width,
        height: frame.height,
        // Frames of the camera that were not painted: not sent because the last was not finished, or dropped by the server.
        skipped: Math.max(0, this.seen + 1 - this.painted - this.sent.size),
        dropped,
        waited,
        painting,
        painted: this.painted,
        mostInFlight: this.mostInFlight,
      },
    });
  }

  end(reason) {
    this.stop();
    this.tell({ ended: reason });
  }

  stop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }
}
