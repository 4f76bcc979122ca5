// configurable-http-proxy takes its token from an environment variable only. Set from the mounted secret inside the
// process, it is neither in the pod's description nor in /proc/<pid>/environ.
"use strict";

const fs = require("node:fs");

process.env.CONFIGPROXY_AUTH_TOKEN = fs.readFileSync("/etc/proxy/token", "utf8").trim();
