// The clock of a camera's frames against the page's.

// Frames after which the least delay is looked for anew: ten seconds of a camera, in which a clock drifts by a
// millisecond at most.
const WINDOW = 300;

// The time stamps of frames have a clock of their own, which drifts against the page's. No frame comes before it is
// captured, so a time stamp less the time when its frame came is at most the offset of the clocks, by the delay of
// the frame; the largest lately is by the least delay. That delay is what is measured once.
export class FrameClock {
  constructor() {
    this.frames = 0;
    this.before = this.latest = -Infinity;
    this.offsets = [];
    this.delay = null;
  }

  get least() {
    return Math.max(this.before, this.latest);
  }

  // A frame with a time stamp is there; milliseconds.
  came(stamp, now) {
    if (this.frames++ % WINDOW === 0) [this.before, this.latest] = [this.latest, -Infinity];
    this.latest = Math.max(this.latest, stamp - now);
  }

  // A video element says when the frame that it is about to show was captured, in the page's clock. That is the frame
  // that came last, or one before where the element is late.
  shown(stamp, captured) {
    this.offsets.push(stamp - captured);
    if (this.offsets.length < 15) return;
    const possible = this.offsets.filter((offset) => offset >= this.least);
    this.delay = possible.length ? Math.min(...possible) - this.least : 0;
  }

  get isKnown() {
    return this.delay !== null;
  }

  // When a frame with a time stamp was captured, in the page's clock; null while that is not known.
  captured(stamp) {
    return this.isKnown ? stamp - this.least - this.delay : null;
  }
}
