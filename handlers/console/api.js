// The calls to the service. The cookie of the session goes with them by itself:
// no script can read it.

// Problem is what the service, or the way to it, says against a call.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let signedOut = () => {};

// whenSignedOut names what is to be done once the session is over.
export function whenSignedOut(f) {
  signedOut = f;
}

// The service's clock, as far as a header tells it: ages are reckoned by it, since
// that of the browser may be wrong.
let ahead = 0;
export const now = () => Date.now() + ahead;

export async function call(method, path, body, signal) {
  const options = { method, signal, credentials: 'same-origin', headers: { Accept: 'application/json' } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (err) {
    if (err.name === 'AbortError') throw err;
    throw new Problem(0, 'The service does not answer. Is it running, and is the network there?');
  }
  const date = Date.parse(answer.headers.get('Date'));
  if (!Number.isNaN(date)) ahead = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401 && path !== '/admin/session') signedOut();
  throw new Problem(answer.status, problem.detail ?? problem.title ?? `the service answered ${answer.status}`);
}

export const get = (path, signal) => call('GET', path, undefined, signal);
export const post = (path, body) => call('POST', path, body);

const id = encodeURIComponent;

export const instancePath = (instance) => `/admin/instances/${id(instance)}`;
export const runPath = (run) => `/admin/runs/${id(run)}`;
export const query = (instance, body, signal) => call('POST', `/v1/instances/${id(instance)}/query`, body, signal);
export const changesPath = (instance) => `/v1/instances/${id(instance)}/changes`;

// every calls f at once, and again so many milliseconds after its end as it
// returned, until the signal ends it. A page that nobody sees rests.
export async function every(signal, f) {
  while (!signal.aborted) {
    const ms = await f();
    await until(signal, (wake) => {
      const timer = setTimeout(wake, ms);
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
    });
    while (document.hidden && !signal.aborted) {
      await until(signal, (wake) => document.addEventListener('visibilitychange', wake, { once: true, signal }));
    }
  }
}

// until waits for what wakes, or for the end.
function until(signal, start) {
  return new Promise((wake) => {
    if (signal.aborted) {
      wake();
      return;
    }
    signal.addEventListener('abort', wake, { once: true });
    start(wake);
  });
}
