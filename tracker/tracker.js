// The clickstream tracker. README.md has the reasons.
(() => {
  const { endpoint, key, consent } = document.currentScript.dataset;
  const early = window.clickstream || [];
  if (early.track) return;
  const CHARS = 2e4; // a beacon ends at 64 KiB
  let most = 20, failures = 0, last = 0, landing = {}, mine = {}, referrer, viewed, timer, busy;

  // cs.e.<ms>.<id> is an event: tabs share no list.
  let store = {};
  try { store = localStorage || store; } catch (e) {}
  const put = (name, value) => {
    try { refused || (store[name] = value); } catch (e) { (store = { ...store })[name] = value; } // full
    return value;
  };
  const drop = (name) => delete store[name];
  const named = (prefix) => Object.keys(store).filter((name) => name.startsWith(prefix)).sort();
  const refused = navigator.doNotTrack == 1 || navigator.globalPrivacyControl;
  const isOff = () => refused || (store["cs.consent"] || consent) == "no";

  const uuid = () => crypto.randomUUID ? crypto.randomUUID()
    : URL.createObjectURL(new Blob()).slice(-36); // no https
  const anonymous = () => store["cs.my.id"] || put("cs.my.id", uuid());
  const session = () => {
    const [id, at, campaign] = (store["cs.my.session"] || "").split("\n");
    return Date.now() - at < 18e5 ? [id, campaign] : [];
  };
  const clean = (address) => {
    const url = new URL(address), query = url.searchParams;
    for (const name of [...query.keys()]) {
      if (/^utm_|clid|mail|token|pass|pwd|secret|auth|phone|session|name/i.test(name)) query.delete(name);
    }
    [url.hash] = /^#!?\/[^?]*|/.exec(url.hash);
    return url.href.replace(/[^/?=&#]*(@|%40)[^/?=&#]*/g, "");
  };

  const track = (event_type, fields) => {
    if (isOff()) return;
    const now = last = Math.max(Date.now(), last + 1); // keeps their order
    const { page, product_id } = document.documentElement.dataset;
    const page_url = clean(location.href);
    const event = {
      event_id: uuid(), event_type, event_timestamp: new Date(now).toISOString(),
      user_id: store["cs.my.user"], anonymous_id: anonymous(),
      page: page || page_url.split("#")[1] || new URL(page_url).pathname,
      page_url, referrer_url: referrer, product_id, device_type, metadata: {}, ...fields,
    };
    const { utm_source, utm_medium, utm_campaign } = event.metadata;
    const sent = [utm_source, utm_medium, utm_campaign].join("\t").trim();
    let [id, campaign] = session();
    if (!id || (sent && sent != campaign)) id = uuid();
    put("cs.my.session", [id, now, sent || campaign].join("\n"));
    event.session_id = id;
    const text = JSON.stringify(event);
    const name = `cs.e.${now}.${event.event_id}`;
    if (text.length < CHARS) mine[name] = put(name, text);
    const names = named("cs.e.");
    names.slice(0, -500).forEach(drop);
    if (names.length < most) timer = timer || setTimeout(flush, 2e3);
    else flush();
    return event;
  };
  const view = () => {
    const url = clean(location.href);
    if (isOff() || url == viewed) return;
    referrer = viewed || referrer;
    viewed = url;
    track("view", { metadata: landing });
    landing = {}; // again, it would cut another tab's session
  };

  // cs.wait: when to ask again, in an hour at most; 0 after a good answer
  const wait = () => {
    const ms = store["cs.wait"] - Date.now();
    return navigator.onLine ? ms > 0 && ms <= 36e5 && ms : 36e5;
  };
  const batch = () => {
    let chars = 0;
    // after 10 seconds another tab's, too: it may be gone
    return isOff() || wait() ? [] : named("cs.e.").filter((name) =>
      (mine[name] || Date.now() - name.split(".")[2] > 1e4) && (chars += store[name].length) < CHARS
    ).slice(0, most);
  };
  const send = async () => {
    const names = batch();
    if (!names[0]) return;
    const { status, headers } = await fetch(endpoint + "/events", {
      method: "POST", keepalive: true, body: `[${names.map((name) => store[name])}]`,
      headers: { "content-type": "application/json", "x-api-key": key },
    }).catch(() => 0);
    if (status == 413 && names[1]) most = names.length >> 1;
    else if (status == 202 || status == 400 || status == 413) {
      names.forEach(drop);
      put("cs.wait", failures = 0);
    } else {
      const after = headers && headers.get("retry-after") * 1e3 || 0;
      const ms = Math.min(2 ** ++failures, 300) * (500 + 500 * Math.random());
      put("cs.wait", Date.now() + Math.min(Math.max(ms, after), 36e5));
    }
  };
  const flush = async () => {
    clearTimeout(timer);
    if (busy) return;
    busy = true;
    try { await navigator.locks.request("cs", send); } catch (e) { await send(); }
    busy = false;
    const { length } = named("cs.e.");
    timer = length && setTimeout(flush, wait() || (length < most ? 2e3 : 0));
  };
  const leave = () => {
    const names = busy ? [] : batch();
    if (names[0] && navigator.sendBeacon(endpoint + "/beacon?key=" + key, `[${names.map((name) => store[name])}]`)) {
      // Its answer is never heard.
      if (store["cs.wait"] == 0) names.forEach(drop);
      mine = {};
    }
  };

  const variant = (experiment, variants) => {
    const names = Array.isArray(variants) ? variants
      : Object.keys(variants).flatMap((name) => Array(variants[name]).fill(name));
    if (isOff()) return names[0];
    let hash = 0x811c9dc5; // as in lambdas/experiments.py
    for (const byte of new TextEncoder().encode(experiment + ":" + anonymous())) {
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    hash = Math.imul(hash ^ hash >>> 16, 1);
    const variant = names[Math.floor((hash >>> 0) % 1e4 * names.length / 1e4)];
    const seen = "cs.my.x." + experiment;
    if (session()[0] != (store[seen] || 0)) {
      put(seen, track("exposure", { metadata: { experiment, variant } }).session_id);
    }
    return variant;
  };

  const api = window.clickstream = {
    track,
    variant,
    identify: (user) => user && !isOff() && put("cs.my.user", user),
    reset: () => named("cs.my.").forEach(drop),
    optOut: () => { named("cs.").forEach(drop); put("cs.consent", "no"); },
    optIn: () => { put("cs.consent", "yes"); view(); },
    push: ([name, ...args]) => api[name](...args),
  };
  const safe = (work) => (...args) => { try { return work(...args); } catch (e) {} };
  const on = (type, work) => addEventListener(type, safe(work), true);
  for (const name in api) api[name] = safe(api[name]);

  const device_type = /ipad|tablet/i.test(navigator.userAgent) ? "tablet"
    : /mobi|android/i.test(navigator.userAgent) ? "mobile" : "desktop";
  safe(() => {
    if (refused) named("cs.").forEach(drop);
    new URLSearchParams(location.search).forEach((value, name) => {
      if (/^utm_/.test(name) && !/@/.test(value)) landing[name] = value;
    });
    referrer = document.referrer && clean(document.referrer);
    view();
    early.forEach(api.push);
  })();
  const { pushState } = history;
  history.pushState = (...args) => { pushState.apply(history, args); safe(view)(); };
  on("popstate", view);
  on("pageshow", (event) => event.persisted && view(viewed = ""));
  on("pagehide", leave);
  on("visibilitychange", () => document.hidden && leave());
  on("online", () => { drop("cs.wait"); flush(); });
  on("click", ({ target }) => {
    const { dataset, id, href } = target.closest("[data-track],a[href],button");
    const metadata = { element: dataset.track || id }; // never its text
    if (/^http/.test(href)) metadata.href = clean(href);
    track("click", { metadata });
  });
})();
