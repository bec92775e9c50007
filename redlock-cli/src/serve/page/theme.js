// Before anything is painted.
'use strict';
try {
  const theme = localStorage.getItem('redlock-theme');
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
} catch { /* A browser that keeps nothing has the system's colours. */ }
