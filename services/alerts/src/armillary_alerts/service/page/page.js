// Puts what has changed in place of what is there, every ten seconds while somebody looks. Without it, the page reloads by itself.
"use strict";
const EVERY = 10000;
async function refresh() {
  if (document.hidden) return;
  const note = document.getElementById("age");
  try {
    const answer = await fetch(location.href, { headers: { "X-Part": "main" }, credentials: "same-origin", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const main = document.querySelector("main");
    const where = document.activeElement?.id;
    main.innerHTML = await answer.text();
    if (where) document.getElementById(where)?.focus();
    note.textContent = `As of ${new Date().toLocaleTimeString()}; renewed every 10 seconds.`;
  } catch (error) {
    note.textContent = `Not renewed: ${error.message}. What is shown is old.`;
  }
}
setInterval(refresh, EVERY);
