// A few requests at a time; waits as long as the server asks to; stops and goes on.

import { Refused } from "./server.js";

const AT_ONCE = 4;
const TRIES = 8;
const TRIES_UNANSWERED = 3;
const LONGEST_PAUSE_MS = 30_000;

export class Queue {
  #waiting = [];
  #running = 0;
  #held = false;
  #until = 0;
  #stopper = new AbortController();

  /**
   * @param {(entry, signal) => Promise} judge resolves to a prediction
   * @param {{started, judged, failed, unauthorized, paused}} tell called as things happen
   */
  constructor(judge, tell) {
    this.judge = judge;
    this.tell = tell;
  }

  get left() {
    return this.#waiting.length + this.#running;
  }

  add(entries) {
    this.#waiting.push(...entries);
    this.#fill();
  }

  /** Ends what runs and gives up what waits. */
  stop() {
    const given = this.#waiting.splice(0);
    this.#stopper.abort();
    this.#stopper = new AbortController();
    for (const entry of given) this.tell.failed(entry, stopped());
  }

  /** After a token was given. */
  goOn() {
    this.#held = false;
    this.#fill();
  }

  #fill() {
    while (!this.#held && this.#running < AT_ONCE && this.#waiting.length) {
      this.#running += 1;
      this.#take(this.#waiting.shift(), this.#stopper.signal);
    }
  }

  async #take(entry, signal) {
    let tell = () => {};
    try {
      const prediction = await this.#persist(entry, signal);
      tell = () => this.tell.judged(entry, prediction);
    } catch (error) {
      if (signal.aborted) tell = () => this.tell.failed(entry, stopped());
      else if (error.status === 401) tell = () => this.#hold(entry, error);
      else tell = () => this.tell.failed(entry, error);
    }
    this.#running -= 1;
    tell();
    this.#fill();
  }

  async #persist(entry, signal) {
    for (let tries = 1; ; tries += 1) {
      await this.#pause(signal);
      try {
        this.tell.started(entry);
        return await this.judge(entry, signal);
      } catch (error) {
        const most = error.status === 0 ? TRIES_UNANSWERED : TRIES;
        if (signal.aborted || !(error instanceof Refused)) throw error;
        if (error.retryAfterMs === null || tries >= most) throw error;
        const grown = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** tries);
        this.#until = Math.max(this.#until, Date.now() + Math.max(error.retryAfterMs, grown));
      }
    }
  }

  /** Until the time that the server named to any request; all of them wait. */
  async #pause(signal) {
    while (this.#until > Date.now() && !signal.aborted) {
      this.tell.paused(this.#until - Date.now());
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, Math.min(1000, this.#until - Date.now()));
        signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
      });
    }
    signal.throwIfAborted();
  }

  #hold(entry, error) {
    this.#held = true;
    this.#waiting.unshift(entry);
    this.tell.unauthorized(entry, error);
  }
}

function stopped() {
  return new Refused(0, "stopped", "Not sent: stopped.");
}
