// A shop to try the tracker in: what is in the cart, which page is shown, and what was sent.
(() => {
  const CURRENCY = "USD";
  // Ids of its own, beside those of the producer's shop.
  const PRODUCTS = [
    ["P-9001", "Birch Mug", "home", 14, "#f4e3cf", "#c46a3c", '<path class="body" d="M48 52h56v50a14 14 0 0 1-14 14H62a14 14 0 0 1-14-14z"/><path d="M104 64h8a12 12 0 0 1 0 28h-8"/><path class="spot" d="M48 80h56v12H48z"/>'],
    ["P-9002", "Harbour Lamp", "home", 79, "#dfeaf4", "#e8b23a", '<path class="spot" d="M56 44h48l14 40H42z"/><path d="M80 84v32M58 118h44"/>'],
    ["P-9003", "Trail Backpack", "outdoor", 118, "#dcebdd", "#3f8f63", '<path class="body" d="M50 66a30 30 0 0 1 60 0v50H50z"/><path class="spot" d="M58 88h44v28H58z"/><path d="M70 40a10 10 0 0 1 20 0M70 98h20"/>'],
    ["P-9004", "Shore Tent", "outdoor", 240, "#f3dfe0", "#d1614f", '<path class="body" d="M80 44l50 72H30z"/><path class="spot" d="M80 74l20 42H60z"/>'],
    ["P-9005", "Reed Headset", "electronics", 129, "#e6e2f3", "#6a5fb5", '<path d="M46 92V80a34 34 0 0 1 68 0v12"/><rect class="spot" x="38" y="86" width="18" height="30" rx="8"/><rect class="spot" x="104" y="86" width="18" height="30" rx="8"/>'],
    ["P-9006", "Pebble Speaker", "electronics", 65, "#dceef0", "#2f8f97", '<rect class="body" x="52" y="36" width="56" height="82" rx="14"/><circle class="spot" cx="80" cy="92" r="16"/><circle cx="80" cy="58" r="8"/>'],
    ["P-9007", "Dune Sneaker", "shoes", 92, "#f5ecd4", "#d08a2e", '<path class="body" d="M34 104V76l22 4 12-14 26 24 26 7c8 2 11 4 11 7z"/><rect class="spot" x="32" y="104" width="102" height="10" rx="4"/><path d="M74 82l8-6M84 90l8-6"/>'],
    ["P-9008", "Mist Jacket", "clothing", 156, "#e1e8ec", "#4d7ea8", '<path class="body" d="M64 40l-28 16 8 26 10-4v40h52V78l10 4 8-26-28-16-16 12z"/><path class="spot" d="M54 92h52v14H54z"/><path d="M80 52v66"/>'],
  ].map(([id, name, category, price, tint, spot, drawing]) =>
    ({ id, name, category, price: `${price - 1}.99`, tint, spot, drawing }));

  const find = (id) => PRODUCTS.find((product) => product.id == id);
  const element = (id) => document.getElementById(id);
  const cents = (price) => Math.round(Number(price) * 100);
  const money = (amount) =>
    (amount / 100).toLocaleString("en-US", { style: "currency", currency: CURRENCY });
  const stored = (name, other) => {
    try { return JSON.parse(sessionStorage[name] || "null") || other; } catch (error) { return other; }
  };
  const store = (name, value) => {
    try { sessionStorage[name] = JSON.stringify(value); } catch (error) { /* it holds for this page */ }
  };
  const picture = ({ tint, spot, drawing }) => {
    // A style attribute would be against a strict policy; setting the property is not.
    setTimeout(() => document.querySelectorAll(".picture[data-tint]").forEach((node) => {
      node.style.setProperty("--tint", node.dataset.tint);
      node.style.setProperty("--spot", node.dataset.spot);
    }));
    return `<span class="picture" data-tint="${tint}" data-spot="${spot}">
      <svg viewBox="0 0 160 150" aria-hidden="true">${drawing}</svg></span>`;
  };

  // ---- what was sent: the tracker itself has no callback, so the page looks over its shoulder

  const { endpoint, key } = window.shopConfig || {};
  const states = new Map(); // by event_id: the event and how far it has come
  const note = (body, state) => {
    JSON.parse(body).forEach((event, index) => {
      states.set(event.event_id, { event, state: typeof state == "string" ? state : state(index) });
    });
    showSent();
  };
  const { fetch } = window;
  window.fetch = async (url, options) => {
    const answer = await fetch(url, options);
    if (url == `${endpoint}/events` && [202, 400].includes(answer.status)) {
      const { rejected = [] } = await answer.clone().json().catch(() => ({}));
      const refused = new Set(rejected.map(({ index }) => index));
      note(options.body, (index) => refused.has(index) ? "rejected" : "accepted");
    }
    return answer;
  };
  const sendBeacon = navigator.sendBeacon.bind(navigator);
  navigator.sendBeacon = (url, body) => {
    const isSent = sendBeacon(url, body);
    if (isSent && endpoint && url.startsWith(endpoint)) note(body, "beacon");
    return isSent;
  };
  const readQueue = () => {
    try {
      Object.keys(localStorage).filter((name) => name.startsWith("cs.e.")).forEach((name) => {
        const event = JSON.parse(localStorage[name]);
        if (!states.has(event.event_id)) states.set(event.event_id, { event, state: "queued" });
      });
    } catch (error) { /* no storage: an event shows once it was sent */ }
  };

  let shown = "";
  function showSent() {
    readQueue();
    const all = [...states.values()]
      .sort((a, b) => (a.event.event_timestamp < b.event.event_timestamp ? 1 : -1));
    const count = (state) => all.filter((one) => one.state == state).length;
    const summary = !endpoint ? "config.js names no collector, so nothing is sent."
      : all.length ? `${count("accepted")} accepted, ${count("queued")} queued` : "Nothing yet.";
    const text = JSON.stringify([summary, all.slice(0, 8)]);
    if (text == shown) return;
    shown = text;
    element("summary").textContent = summary;
    element("sent").replaceChildren(...all.slice(0, 8).map(({ event, state }) => {
      const row = document.createElement("li");
      for (const [name, value] of [["type", event.event_type], [`state ${state}`, state],
        ["where", `${event.event_timestamp.slice(11, 19)} on ${event.page}`]]) {
        const cell = document.createElement("span");
        cell.className = name;
        cell.textContent = value;
        row.append(cell);
      }
      return row;
    }));
  }

  // ---- pages

  let cart = stored("cart", []); // [product id, quantity]
  const total = () => cart.reduce((sum, [id, quantity]) => sum + cents(find(id).price) * quantity, 0);
  const fields = (id, quantity) => {
    const { name, category, price } = find(id);
    return {
      product_id: id, price: Number(price), quantity, currency: CURRENCY,
      metadata: { product_name: name, category },
    };
  };
  const lines = (removable) => cart.map(([id, quantity]) => {
    const product = find(id);
    return `<li>${picture(product)}<p class="name">${product.name}<span>${quantity} × $${product.price}</span></p>
      ${removable ? `<button class="quiet" type="button" data-remove="${id}" data-track="remove" aria-label="Remove ${product.name}">Remove</button>` : ""}</li>`;
  }).join("");

  const pages = {
    home: () => ["Lakeside Goods", `<h1 tabindex="-1">Good things from the lakeside</h1>
      <p class="lead">Eight things, drawn by hand. Look at them, buy some, and watch your clicks set out for the lake.</p>
      <ul class="goods">${PRODUCTS.map((product) => `<li><a href="#/product/${product.id}" data-track="product_card">
        ${picture(product)}<span class="text"><span class="name">${product.name}</span>
        <span class="price">$${product.price}</span></span></a></li>`).join("")}</ul>`],
    product: (id) => {
      const product = find(id);
      // A choice of the tracker's experiment; without it the first.
      const label = window.clickstream.variant
        && window.clickstream.variant("buy_button", ["Add to cart", "Take it home"]) || "Add to cart";
      return [product.name, `<a class="back" href="#/" data-track="back">← All goods</a>
        <article class="product">${picture(product)}<div>
        <h1 tabindex="-1">${product.name}</h1><p class="price">$${product.price}</p>
        <p class="hint">Made slowly, sold quickly, and in truth only drawn. From our ${product.category} shelf.</p>
        <form id="add"><label>Quantity<select name="quantity"><option>1<option>2<option>3</select></label>
        <button data-track="add_to_cart">${label}</button></form></div></article>`];
    },
    cart: () => ["Cart", cart.length
      ? `<h1 tabindex="-1">Your cart</h1><ul class="lines">${lines(true)}</ul>
        <p class="total"><span>Total</span><span>${money(total())}</span></p>
        <a class="button" href="#/checkout" data-track="checkout">To the checkout</a>`
      : `<h1 tabindex="-1">Your cart is empty</h1><p class="lead">Something good may still come into it.</p>
        <a class="button" href="#/" data-track="back">Look at the goods</a>`],
    checkout: () => ["Checkout", `<h1 tabindex="-1">Checkout</h1>
      <p class="lead">Write what you like: nothing of this form is sent anywhere.</p>
      <form id="buy" class="fields">
      <label>Name<input name="name" autocomplete="name" required></label>
      <label>E-mail<input name="email" type="email" autocomplete="email" required></label>
      <label>Address<input name="address" autocomplete="street-address" required></label>
      <button data-track="buy">Buy for ${money(total())}</button></form>`],
    confirmation: () => ["Thank you", `<h1 tabindex="-1">Thank you!</h1>
      <p class="lead">Order ${stored("order", "")} is on its way to the lake, where it counts as revenue.</p>
      <a class="button" href="#/" data-track="back">Back to the goods</a>`],
  };

  const route = (hash = location.hash) => {
    const [, name = "", id] = hash.split("/");
    if (name == "product" && find(id)) return ["product", id];
    if (name == "checkout" && !cart.length) return ["cart"];
    return [name in pages && name != "product" ? name : "home"];
  };
  // The tracker takes page and product from the document, so they are set before it looks.
  const describe = (hash) => {
    const [page, id] = route(hash);
    const { dataset } = document.documentElement;
    dataset.page = page;
    if (id) dataset.product_id = id; else delete dataset.product_id;
  };
  const show = (isFirst) => {
    describe();
    const [page, id] = route();
    const [title, html] = pages[page](id);
    element("main").innerHTML = html;
    document.title = title == "Lakeside Goods" ? title : `${title} · Lakeside Goods`;
    element("count").textContent = cart.reduce((sum, [, quantity]) => sum + quantity, 0);
    if (!isFirst) {
      scrollTo(0, 0);
      document.querySelector("h1").focus(); // a screen reader says where one is
    }
    if (page == "checkout") window.clickstream.push(["track", "checkout"]);
    showSent();
  };
  const setCart = (changed) => { cart = changed; store("cart", cart); };
  const go = (hash) => {
    describe(hash);
    history.pushState(null, "", hash);
    show();
  };

  addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#/"]');
    const remove = event.target.closest("[data-remove]");
    if (link && !(event.metaKey || event.ctrlKey || event.shiftKey)) {
      event.preventDefault();
      go(link.getAttribute("href"));
    } else if (remove) {
      const [id, quantity] = cart.find(([product]) => product == remove.dataset.remove);
      setCart(cart.filter(([product]) => product != id));
      window.clickstream.push(["track", "remove_from_cart", fields(id, quantity)]);
      show();
    } else if (event.target.closest("#account")) {
      const isIn = !stored("user", "");
      store("user", isIn ? `u-demo-${Math.random().toString(36).slice(2, 8)}` : "");
      if (isIn) {
        window.clickstream.push(["identify", stored("user", "")]);
        window.clickstream.push(["track", "login"]);
      } else window.clickstream.push(["reset"]);
      element("account").textContent = isIn ? "Sign out" : "Sign in";
    }
  });
  addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.target.id == "add") {
      const [, id] = route();
      const quantity = Number(new FormData(event.target).get("quantity"));
      const [, before] = cart.find(([product]) => product == id) || [id, 0];
      setCart([...cart.filter(([product]) => product != id), [id, before + quantity]]);
      window.clickstream.push(["track", "add_to_cart", fields(id, quantity)]);
      go("#/cart");
    } else {
      const order = `o-${Date.now().toString(36)}`;
      // One purchase for each product of the order, as the data model counts them.
      cart.forEach(([id, quantity]) => window.clickstream.push(
        ["track", "purchase", { ...fields(id, quantity), order_id: order }]));
      store("order", order);
      setCart([]);
      go("#/confirmation");
    }
  });

  // ---- the tracker: before it is loaded, calls wait in the array

  window.clickstream = [];
  addEventListener("popstate", () => show(), true); // before the tracker's, which comes later
  if (stored("user", "")) element("account").textContent = "Sign out";
  show(true);
  if (endpoint) {
    const script = document.createElement("script");
    script.src = "tracker.js";
    Object.assign(script.dataset, { endpoint, key });
    document.head.append(script);
  }
  setInterval(showSent, 300);
})();
