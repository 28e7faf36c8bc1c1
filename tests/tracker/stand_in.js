// As much of a browser as tracker.js needs. Time passes only when a test says so.
// `node stand_in.js` reads {tracker, test} as JSON: `test` is the body of a function of `browser`.
const vm = require("vm");

const pass = () => new Promise(setImmediate);

// localStorage as browsers have it: names of the entries are its own keys.
function storage(entries, quota) {
  return new Proxy({}, {
    get: (_, name) => entries.get(name),
    set: (_, name, value) => {
      const size = [...entries].reduce((sum, [key, text]) => sum + key.length + text.length, 0);
      if (size + name.length + String(value).length > quota) throw new Error("QuotaExceededError");
      return entries.set(name, String(value));
    },
    deleteProperty: (_, name) => entries.delete(name) || true,
    ownKeys: () => [...entries.keys()],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
  });
}

function makeBrowser(source) {
  const timers = new Set(), entries = new Map();
  const browser = {
    entries, now: Date.parse("2026-11-20T12:00:00.000Z"), requests: [], beacons: [], errors: [],
    answers: [], // {status, after}, or "lost"; after the last one all is taken
    events: () => browser.requests.flatMap(({ events }) => events),
  };

  browser.tick = async (ms) => {
    const end = browser.now + ms;
    for (await pass(); ; await pass()) {
      const due = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      timers.delete(due);
      browser.now = Math.max(browser.now, due.at);
      due.work();
    }
    browser.now = end;
    await pass();
  };

  browser.open = (address = "https://shop.example/", options = {}) => {
    const listeners = [];
    const mine = new Set();
    const location = new URL(address);
    const page = { mine };
    class Clock extends Date {
      constructor(...args) { super(...(args.length ? args : [browser.now])); }
      static now() { return browser.now; }
    }
    const window = {
      URL, URLSearchParams, TextEncoder, Date: Clock, location, console,
      Blob: class {},
      crypto: options.http ? {} : { randomUUID: () => crypto.randomUUID() },
      navigator: {
        userAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0", onLine: true,
        sendBeacon: (url, body) => {
          browser.beacons.push({ url, body, events: JSON.parse(body) });
          return true;
        },
        ...options.navigator,
      },
      document: {
        referrer: options.referrer || "", hidden: false, documentElement: { dataset: {} },
        currentScript: {
          dataset: { endpoint: "https://collect.example", key: "k1", ...options.script },
        },
      },
      history: { pushState: (_state, _title, url) => { location.href = new URL(url, location); } },
      addEventListener: (type, work) => listeners.push([type, work]),
      setTimeout: (work, ms) => {
        const timer = { at: browser.now + Number(ms), work };
        timers.add(timer), mine.add(timer);
        return timer;
      },
      clearTimeout: (timer) => timers.delete(timer),
      fetch: async (url, { body, ...rest }) => {
        browser.requests.push({ url, body, at: browser.now, events: JSON.parse(body), ...rest });
        const answer = browser.answers.shift() || { status: 202 };
        if (answer == "lost") throw new TypeError("Failed to fetch");
        return { status: answer.status, headers: { get: () => answer.after || null } };
      },
      ...options.window,
    };
    if (options.http) URL.createObjectURL = () => "blob:http://shop.example/" + crypto.randomUUID();
    Object.defineProperty(window, "localStorage", {
      get: () => {
        if (options.refused) throw new Error("SecurityError");
        return storage(entries, options.quota || Infinity);
      },
    });
    window.window = window;
    const run = () => vm.runInContext(source, context);
    const context = vm.createContext(window);
    run();
    return Object.assign(page, {
      window, run, clickstream: window.clickstream,
      fire: (type, event = {}) => listeners.forEach(([name, work]) => name == type && work(event)),
      click: (element) => page.fire("click", { target: { closest: () => element } }),
      hide: () => { window.document.hidden = true; page.fire("visibilitychange"); },
      leave: () => { page.hide(); page.fire("pagehide"); mine.forEach((it) => timers.delete(it)); },
    });
  };
  return browser;
}

const { tracker, test } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const AsyncFunction = (async () => {}).constructor;
const errors = [];
process.on("unhandledRejection", (error) => errors.push(String(error)));
new AsyncFunction("browser", test)(makeBrowser(tracker)).then(async (result) => {
  await pass();
  console.log(JSON.stringify({ result: result === undefined ? null : result, errors }));
});
