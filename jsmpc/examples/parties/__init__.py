"""Programs for real parties: `jsmpc launch mnist`, `jsmpc launch train`."""
