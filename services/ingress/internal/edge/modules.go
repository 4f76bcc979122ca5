// Package edge is the proxy: Caddy, with the modules that Ingress needs, in this process.
package edge

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	// What the configuration names, and nothing else of Caddy's standard modules.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/zstd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/requestbody"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls/standardstek"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
)

func init() {
	caddy.RegisterModule(Endpoints{})
	caddy.RegisterModule(MatchPath{})
	caddy.RegisterModule(Health{})
}

// The endpoints of all backends. They change far more often than routes do, and must not cause a new configuration.
var current atomic.Pointer[map[string][]string]

// SetEndpoints replaces the endpoints (host:port) of all backends; requests from now on use them.
func SetEndpoints(endpoints map[string][]string) { current.Store(&endpoints) }

// Endpoints gives reverse_proxy the addresses that a backend has at this moment.
type Endpoints struct {
	Backend string `json:"backend"`
}

// CaddyModule is part of caddy.Module.
func (Endpoints) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.endpoints", New: func() caddy.Module { return new(Endpoints) }}
}

// GetUpstreams is part of reverseproxy.UpstreamSource.
func (e Endpoints) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	all := current.Load()
	if all == nil {
		return nil, nil
	}
	addresses := (*all)[e.Backend]
	upstreams := make([]*reverseproxy.Upstream, len(addresses))
	for i, address := range addresses {
		upstreams[i] = &reverseproxy.Upstream{Dial: address}
	}
	return upstreams, nil
}

// MatchPath matches as Ingress asks: with case, and a prefix by whole elements. Caddy's own matcher ignores case.
// It sees the path without "//", "." and "..", so that /public/../admin is /admin's.
type MatchPath struct {
	Path  string `json:"path"`
	Exact bool   `json:"exact,omitempty"`
}

// CaddyModule is part of caddy.Module.
func (MatchPath) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.ingress_path", New: func() caddy.Module { return new(MatchPath) }}
}

// MatchWithError is part of caddyhttp.RequestMatcherWithError.
func (m MatchPath) MatchWithError(r *http.Request) (bool, error) {
	path := caddyhttp.CleanPath(r.URL.Path, true)
	if m.Exact {
		return path == m.Path, nil
	}
	prefix := strings.TrimSuffix(m.Path, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/"), nil
}

// Match is part of caddyhttp.RequestMatcher.
func (m MatchPath) Match(r *http.Request) bool {
	matched, _ := m.MatchWithError(r)
	return matched
}

var unwell atomic.Pointer[func(ready bool) error]

// SetHealth gives what /healthz (ready false) and /readyz (ready true) answer from.
func SetHealth(check func(ready bool) error) { unwell.Store(&check) }

// Health answers for the process.
type Health struct {
	Ready bool `json:"ready,omitempty"`
}

// CaddyModule is part of caddy.Module.
func (Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ingress_health", New: func() caddy.Module { return new(Health) }}
}

// ServeHTTP is part of caddyhttp.MiddlewareHandler.
func (h Health) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	if check := unwell.Load(); check != nil {
		if err := (*check)(h.Ready); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return nil
		}
	}
	_, err := fmt.Fprintln(w, "ok")
	return err
}

var (
	_ reverseproxy.UpstreamSource       = Endpoints{}
	_ caddyhttp.RequestMatcherWithError = MatchPath{}
	_ caddyhttp.MiddlewareHandler       = Health{}
)
