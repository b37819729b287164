// Search results show a piece of each page, which is fetched; file:// allows no fetching.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
