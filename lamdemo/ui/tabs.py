"""The tab that is open outlives a reload, and a link opens its own: all in the browser, without the server.

What the server says comes seconds later, when the visitor may have gone elsewhere; what is done here is done before the
page is first seen.
"""

TABS = ("transfer", "space", "drive", "plan")  # ids, in their order on the page

# Of the elements below, only Gradio's buttons of the outer tabs have one of these ids.
HEAD = """
<script>
(() => {
  const names = NAMES, key = 'lamdemo-tab';
  const find = (name) => document.querySelector(`#lam-tabs [role=tab][data-tab-id="${name}"]`);
  let wanted = '';
  try { wanted = localStorage.getItem(key) || ''; } catch { /* a browser that keeps nothing */ }
  // What the address asks for, for the parts of the page: they take it out of there.
  window.lamAsked = location.search.slice(1);
  const asked = new URLSearchParams(window.lamAsked);
  if (asked.has('actions')) wanted = 'space';
  else if (asked.has('plan')) wanted = 'plan';
  else if (asked.has('drive')) wanted = 'drive';
  else if (asked.has('clip')) wanted = 'transfer';
  let settled = !names.includes(wanted), gone = false;
  // Where the visitor has gone in the meantime goes before what was kept.
  document.addEventListener('click', (event) => {
    if (event.isTrusted && event.target.closest && event.target.closest('#lam-tabs [role=tab]')) gone = true;
  }, true);
  new MutationObserver((changes) => {
    if (!settled && find(wanted)) {
      settled = true;
      // Gradio has put the button there and goes on to tie it: after that, before it is painted.
      requestAnimationFrame(() => {
        const button = find(wanted);
        if (button && !gone && button.getAttribute('aria-selected') !== 'true') button.click();
      });
    }
    for (const { type, target } of changes) {
      if (type !== 'attributes' || !names.includes(target.dataset.tabId)) continue;
      if (target.getAttribute('aria-selected') !== 'true') continue;
      try { localStorage.setItem(key, target.dataset.tabId); } catch { /* likewise */ }
    }
  }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['aria-selected'] });
})();
</script>
""".replace("NAMES", str(list(TABS)))
