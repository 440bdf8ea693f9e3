// Asking the server: one request an image; its refusals as one kind of error.

const TIMEOUT_MS = 120_000;

/** The server said no, or said nothing. */
export class Refused extends Error {
  /**
   * @param {number} status of HTTP; 0 if there was no answer
   * @param {string} code of the problem, or a word of ours
   * @param {string} words for people
   * @param {number|null} retryAfterMs when to ask again; null: not worth it
   */
  constructor(status, code, words, retryAfterMs = null) {
    super(words);
    Object.assign(this, { status, code, retryAfterMs });
  }
}

export class Server {
  token = "";

  /** What the model says about itself. Throws Refused. */
  async model() {
    const answer = await this.#ask("/v1/model", {});
    if (!answer.ok) throw await refusal(answer);
    return readJson(answer);
  }

  /** The prediction for one file. Throws Refused, or AbortError after `signal`. */
  async judge(file, maxBytes, signal) {
    if (file.size > maxBytes) {
      const words = `It has ${mib(file.size)} MiB; this server takes at most ${mib(maxBytes)}.`;
      throw new Refused(413, "too_large", words);
    }
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await this.#ask("/v1/predict", { method: "POST", body: file, headers, signal });
    if (answer.ok) return readJson(answer);
    if (answer.status === 422) {
      const problem = await readJson(answer);
      if (problem.prediction) return problem.prediction;
    }
    throw await refusal(answer);
  }

  async #ask(address, { headers = {}, signal, ...rest }) {
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const late = AbortSignal.timeout(TIMEOUT_MS);
    try {
      return await fetch(address, {
        ...rest, headers, signal: signal ? AbortSignal.any([signal, late]) : late,
        cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      if (rest.body && !(await isReadable(rest.body))) {
        throw new Refused(0, "unreadable_file", "The file cannot be read any more.");
      }
      throw new Refused(0, "no_answer", "The server did not answer.", 1000);
    }
  }
}

async function refusal(answer) {
  const problem = await readJson(answer).catch(() => ({}));
  const said = [problem.detail || problem.title, problem.hint].filter(Boolean).join(" ");
  const words = said || `The server answered with status ${answer.status}.`;
  const busy = answer.status === 429 || answer.status === 503;
  const wait = busy ? retryAfterMs(answer.headers.get("Retry-After")) : null;
  return new Refused(answer.status, problem.code || `status_${answer.status}`, words, wait);
}

async function readJson(answer) {
  try {
    return await answer.json();
  } catch {
    throw new Refused(0, "no_answer", "The server's answer broke off.", 1000);
  }
}

/** Retry-After is a number of seconds or a date. */
function retryAfterMs(header) {
  if (/^\d+$/.test(header ?? "")) return 1000 * Number(header);
  const date = Date.parse(header ?? "");
  return Number.isNaN(date) ? 1000 : Math.max(0, date - Date.now());
}

/** Whether the first piece can be read; a file that has gone has length 0, and no slice says so. */
async function isReadable(file) {
  const reader = file.stream().getReader();
  try {
    await reader.read();
    return true;
  } catch {
    return false;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function mib(bytes) {
  return Math.ceil((10 * bytes) / 1048576) / 10;
}
