// Lets the stock move while you watch. The page works without it; nothing here decides anything.
(() => {
  "use strict";

  const sale = document.getElementById("sale");
  if (!sale) return;

  const EVERY = 1000; // milliseconds
  const $ = (selector) => sale.querySelector(selector);
  const shown = { left: $("[data-left]"), meter: $("[data-meter]"), activity: $("[data-activity]") };
  const seats = new Map([...sale.querySelectorAll("[data-seat]")].map((seat) => [Number(seat.dataset.seat), seat]));
  const drawing = $(".house svg");
  const stub = $("[data-until]");
  let held = [...sale.querySelectorAll(".seat-numbers span")].map((seat) => seat.textContent).join();
  let soldOut = !$("[data-buy]") && Number(shown.left.textContent) === 0;
  let latest = null;

  const line = (moment) => {
    const item = document.createElement("li");
    const time = document.createElement("time");
    const who = document.createElement("b");
    time.dateTime = moment.at;
    time.textContent = new Date(moment.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    who.textContent = moment.you ? "You" : moment.who;
    if (moment.you) item.className = "you";
    item.append(time, " ", who, ` ${moment.what} ${moment.seats} seat${moment.seats === 1 ? "" : "s"}`);
    return item;
  };

  const show = (state) => {
    // What the visitor can press depends on these two: let the server draw it.
    const mine = state.yours ? state.yours.seats.join() : "";
    if (mine !== held || (state.left === 0) !== soldOut) {
      location.assign(sale.dataset.page); // not reload(): this page may be the answer to a form
      return;
    }
    if (shown.left.textContent !== String(state.left)) {
      shown.left.textContent = state.left;
      shown.left.classList.remove("moved");
      void shown.left.offsetWidth; // restarts the animation
      shown.left.classList.add("moved");
      shown.meter.style.width = `${(100 * state.left) / state.tickets}%`;
      drawing?.setAttribute("aria-label", `The house: ${state.left} of ${state.tickets} seats are free`);
    }
    const taken = new Set(state.taken);
    const yours = new Set(state.yours ? state.yours.seats : []);
    for (const [number, seat] of seats) {
      const is = yours.has(number) ? "yours" : taken.has(number) ? "taken" : "free";
      if (seat.getAttribute("class") !== is) seat.setAttribute("class", is);
    }
    const news = JSON.stringify(state.activity);
    if (news !== latest) {
      if (latest !== null && state.activity.length) shown.activity.replaceChildren(...state.activity.map(line));
      latest = news;
    }
  };

  const poll = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch(sale.dataset.state, { headers: { Accept: "application/json" }, cache: "no-store" });
        sale.classList.toggle("stale", !response.ok);
        if (response.ok) show(await response.json());
      } catch {
        sale.classList.add("stale"); // no line to the server: keep what is shown, and ask again
      }
    }
    setTimeout(poll, EVERY);
  };

  if (stub) {
    const until = Date.parse(stub.dataset.until);
    const countdown = stub.querySelector("[data-countdown]");
    const tick = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      countdown.textContent = `, ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} to go`;
      stub.classList.toggle("soon", seconds < 60);
    };
    tick();
    setInterval(tick, 1000);
  }

  $("[data-buy]")?.addEventListener("submit", (event) => event.target.classList.add("sending"));
  poll();
})();
