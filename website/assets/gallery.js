// Filter of the gallery: cards that have all checked words, and every part of the typed text in their own text.
// The address holds the choice (?word=MLA&text=deepseek), so that it can be shared.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".gallery-filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".gallery-card")].map((element) => {
    const words = element.dataset.words.split("|");
    return { element, words: new Set(words), text: `${element.textContent} ${words.join(" ")}`.toLowerCase() };
  });

  function apply() {
    const chosen = new FormData(form);
    const words = chosen.getAll("word");
    const parts = chosen.get("text").toLowerCase().split(/\s+/);
    let shown = 0;
    for (const card of cards) {
      const fits = words.every((word) => card.words.has(word)) && parts.every((part) => card.text.includes(part));
      card.element.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown} of ${cards.length} families`;
    const query = new URLSearchParams([...chosen].filter(([, value]) => value)).toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
  }

  const asked = new URLSearchParams(location.search);
  for (const box of form.elements.word) box.checked = asked.getAll("word").includes(box.value);
  form.elements.text.value = asked.get("text") ?? "";
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
});
