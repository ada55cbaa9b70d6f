// Tones by priority. Silence is not acknowledgement: only an officer ends what repeats.
import type { Alarm, Transition } from '../protocol.ts';

const REPEAT_MS = 10_000;
/** Frequencies in Hz, one after the other; the more urgent the higher and the more of them. */
const TONES: Record<number, readonly number[]> = {
  1: [880, 660, 880, 660, 880],
  2: [740, 740, 740],
  3: [587, 587],
  4: [494],
};
const TONE_S = 0.18;

export class Sound {
  muted = false;
  #context: AudioContext | null = null;
  #lastUrgent = -Infinity;
  #busyUntil = 0;

  /** Whether the room would hear something now. Browsers allow no sound before a gesture. */
  get audible(): boolean {
    return !this.muted && this.#context?.state === 'running';
  }

  start(changed: () => void): void {
    this.#context = new AudioContext();
    this.#context.onstatechange = changed;
    const wake = () => void this.#context?.resume();
    wake();
    addEventListener('pointerdown', wake);
    addEventListener('keydown', (event) => {
      if (event.key.toLowerCase() === 'm' && !event.ctrlKey && !event.metaKey && !event.altKey) {
        this.muted = !this.muted;
        changed();
      }
      wake();
    });
  }

  /** What has just happened: the most urgent of it is heard, once. */
  hear(events: readonly Transition[], now: number): void {
    const worst = Math.min(9, ...events.filter(({ sounds }) => sounds).map(({ priority }) => priority));
    if (worst > 4) return;
    if (worst === 1) this.#lastUrgent = now;
    this.#play(worst);
  }

  /** Called often: repeats while a critical alarm sounds that nobody has acknowledged. */
  tick(alarms: Iterable<Alarm>, now: number): void {
    if (now - this.#lastUrgent < REPEAT_MS) return;
    for (const { priority, state, sounding } of alarms) {
      if (priority === 1 && state === 'UNACKED' && sounding) {
        this.#lastUrgent = now;
        this.#play(1);
        return;
      }
    }
  }

  #play(priority: number): void {
    const context = this.#context;
    if (!context || !this.audible || context.currentTime < this.#busyUntil) return;
    let at = context.currentTime + 0.02;
    for (const frequency of TONES[priority] ?? []) {
      const tone = context.createOscillator();
      const gain = context.createGain();
      tone.type = 'triangle';
      tone.frequency.value = frequency;
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(0.5, at + 0.02);
      gain.gain.setValueAtTime(0.5, at + TONE_S - 0.04);
      gain.gain.linearRampToValueAtTime(0, at + TONE_S);
      tone.connect(gain).connect(context.destination);
      tone.start(at);
      tone.stop(at + TONE_S);
      at += TONE_S + 0.06;
    }
    this.#busyUntil = at;
  }
}
