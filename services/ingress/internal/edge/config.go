package edge

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"armillary/ingress/internal/routes"
)

// Settings of the proxy.
type Settings struct {
	HTTP, HTTPS, Ops string                     // listen addresses
	ProxyProtocol    []string                   // CIDRs of load balancers whose PROXY header is believed
	Default          routes.Certificate         // for hosts that no other certificate names
	HSTS             time.Duration              // how long browsers shall insist on HTTPS; 0: not told
	BackendCA        string                     // PEM file: who may sign certificates of HTTPS backends
	DataDirectory    string                     // where ACME certificates are kept
	ACME             struct{ Email, CA string } // CA: the directory's URL; empty: no ACME
	AccessLog        bool
}

// How long an open websocket may go on after a change of routes. Caddy closes those of a configuration that it
// replaced, after this: https://caddyserver.com/docs/json/apps/http/servers/routes/handle/reverse_proxy/
const streamCloseDelay = "24h"

//go:embed page.html
var page string

type object = map[string]any
type list = []any

// Config gives Caddy's configuration for a table, as JSON. Certificates that are not a pair are left out and named in
// the errors: Caddy refuses a whole configuration for one.
func Config(settings Settings, table *routes.Table) ([]byte, []error) {
	certificates, subjects, errs := usable(append([]routes.Certificate{settings.Default}, table.Certificates...))
	policy := object{}
	if len(subjects) > 0 {
		// A client that sends no name, or one that no certificate has, gets the default certificate.
		policy["fallback_sni"] = subjects[0]
		policy["default_sni"] = subjects[0]
	}
	web := object{
		"listen":                  list{settings.HTTPS},
		"listener_wrappers":       wrappers(settings, true),
		"routes":                  siteRoutes(settings, table),
		"errors":                  object{"routes": errorRoutes()},
		"tls_connection_policies": list{policy},
		"automatic_https":         object{"disable": true},
		"protocols":               list{"h1", "h2"},
		"read_header_timeout":     "30s",
		"idle_timeout":            "5m",
	}
	plain := object{
		"listen":              list{settings.HTTP},
		"listener_wrappers":   wrappers(settings, false),
		"routes":              list{object{"handle": list{redirect()}}},
		"automatic_https":     object{"disable": true},
		"protocols":           list{"h1"},
		"read_header_timeout": "30s",
		"idle_timeout":        "1m",
	}
	if settings.AccessLog {
		web["logs"] = object{}
	}
	config := object{
		// The configuration holds private keys: it is neither served nor saved.
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": settings.DataDirectory},
		"apps": object{
			"tls": tlsApp(settings, table, certificates),
			"http": object{
				"http_port": port(settings.HTTP), "https_port": port(settings.HTTPS),
				"metrics": object{},
				"servers": object{"https": web, "http": plain, "ops": ops(settings)},
			},
		},
	}
	// Maps of strings, numbers and lists of these always can be written.
	text, _ := json.Marshal(config)
	return text, errs
}

// Load makes Caddy take the configuration. Listeners and open connections live on; on error the former stays in force.
func Load(config []byte) error {
	if err := caddy.Load(config, false); err != nil {
		return fmt.Errorf("the proxy refuses the configuration: %w", err)
	}
	return nil
}

// Stop ends Caddy when all requests are done.
func Stop() error { return caddy.Stop() }

func usable(candidates []routes.Certificate) (loaded list, subjects []string, errs []error) {
	loaded = list{}
	for _, candidate := range candidates {
		if candidate.Certificate == "" && candidate.Name == "" {
			continue
		}
		pair, err := tls.X509KeyPair([]byte(candidate.Certificate), []byte(candidate.Key))
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s is left out: %w", candidate.Name, err))
			continue
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s is left out: %w", candidate.Name, err))
			continue
		}
		subjects = append(subjects, leaf.DNSNames...)
		loaded = append(loaded, object{"certificate": candidate.Certificate, "key": candidate.Key})
	}
	return loaded, subjects, errs
}

func tlsApp(settings Settings, table *routes.Table, certificates list) object {
	app := object{"certificates": object{"load_pem": certificates}, "disable_ocsp_stapling": true}
	if settings.ACME.CA != "" && len(table.Automatic) > 0 {
		app["certificates"] = object{"load_pem": certificates, "automate": table.Automatic}
		app["automation"] = object{"policies": list{object{
			"subjects": table.Automatic,
			"issuers":  list{object{"module": "acme", "email": settings.ACME.Email, "ca": settings.ACME.CA}},
		}}}
	}
	return app
}

func wrappers(settings Settings, encrypted bool) list {
	wrapped := list{}
	if len(settings.ProxyProtocol) > 0 {
		wrapped = append(wrapped, object{"wrapper": "proxy_protocol", "timeout": "5s", "allow": settings.ProxyProtocol})
	}
	if encrypted {
		wrapped = append(wrapped, object{"wrapper": "tls"})
	}
	return wrapped
}

func siteRoutes(settings Settings, table *routes.Table) list {
	var first list
	if settings.HSTS > 0 {
		first = append(first, object{"handler": "headers", "response": object{
			"deferred": true,
			"set":      object{"Strict-Transport-Security": list{fmt.Sprintf("max-age=%d", int(settings.HSTS.Seconds()))}},
		}})
	}
	first = append(first, object{
		"handler": "encode", "encodings": object{"gzip": object{}, "zstd": object{}}, "prefer": list{"zstd", "gzip"},
	})
	all := list{object{"handle": first}}
	for _, host := range table.Hosts {
		var paths list
		for _, path := range host.Paths {
			paths = append(paths, object{
				"match":    list{object{"ingress_path": object{"path": path.Path, "exact": path.Exact}}},
				"handle":   pathHandlers(settings, path),
				"terminal": true,
			})
		}
		route := object{"handle": list{object{"handler": "subroute", "routes": paths}}}
		if host.Name != "" {
			// A host that has paths, but not this one, is nobody else's: neither a wildcard's nor the default backend's.
			paths = append(paths, notFound())
			route = object{
				"match":    list{object{"host": list{host.Name}}},
				"handle":   list{object{"handler": "subroute", "routes": paths}},
				"terminal": true,
			}
		}
		all = append(all, route)
	}
	return append(all, notFound())
}

func pathHandlers(settings Settings, path routes.Path) list {
	var handlers list
	if path.MaxBody > 0 {
		handlers = append(handlers, object{"handler": "request_body", "max_size": path.MaxBody})
	}
	return append(handlers, object{
		"handler":            "reverse_proxy",
		"dynamic_upstreams":  object{"source": "endpoints", "backend": path.Backend.Key},
		"transport":          transport(settings, path.Backend),
		"stream_close_delay": streamCloseDelay,
		// A client must not say who it is by a header that some programs believe.
		"headers": object{"request": object{"set": object{"X-Real-Ip": list{"{http.request.remote.host}"}}}},
		"load_balancing": object{
			"selection_policy": object{"policy": "least_conn"}, "try_duration": "5s", "try_interval": "250ms",
		},
		"health_checks": object{"passive": object{"fail_duration": "5s", "max_fails": 2}},
	})
}

func transport(settings Settings, backend routes.Backend) object {
	made := object{"protocol": "http", "dial_timeout": "3s", "versions": list{"1.1"}}
	switch backend.Protocol {
	case routes.H2C:
		made["versions"] = list{"h2c"}
	case routes.HTTPS:
		made["versions"] = list{"1.1", "2"}
		verify := object{"server_name": backend.ServerName}
		if settings.BackendCA != "" {
			verify["ca"] = object{"provider": "file", "pem_files": list{settings.BackendCA}}
		}
		made["tls"] = verify
	case routes.HTTP:
	}
	return made
}

func redirect() object {
	return object{
		"handler": "static_response", "status_code": "308",
		"headers": object{"Location": list{"https://{http.request.host}{http.request.uri}"}},
	}
}

func notFound() object {
	return object{"handle": list{
		answer("404", "Nothing here", "This address belongs to no service of the platform. Is the name spelt right?")}}
}

func errorRoutes() list {
	return list{
		object{
			"match":  list{object{"expression": "{http.error.status_code} in [502, 503, 504]"}},
			"handle": list{answer("{http.error.status_code}", "Not answering yet", "The service behind this address does not answer. It may be starting: try again in a moment.")},
		},
		object{"handle": list{
			answer("{http.error.status_code}", "This did not work", "{http.error.status_code} {http.error.status_text}")}},
	}
}

func answer(status, title, text string) object {
	body := strings.NewReplacer("TITLE", html.EscapeString(title), "TEXT", html.EscapeString(text)).Replace(page)
	return object{
		"handler": "static_response", "status_code": status, "body": body,
		"headers": object{
			"Content-Type": list{"text/html; charset=utf-8"}, "Cache-Control": list{"no-store"},
			"Content-Security-Policy": list{"default-src 'none'; style-src 'unsafe-inline'"},
		},
	}
}

func ops(settings Settings) object {
	at := func(path string, handler object) object {
		return object{"match": list{object{"ingress_path": object{"path": path, "exact": true}}}, "handle": list{handler}}
	}
	return object{
		"listen": list{settings.Ops},
		"routes": list{
			at("/healthz", object{"handler": "ingress_health"}),
			at("/readyz", object{"handler": "ingress_health", "ready": true}),
			at("/metrics", object{"handler": "metrics"}),
		},
		"automatic_https": object{"disable": true},
		"protocols":       list{"h1"},
	}
}

func port(listen string) int {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return 0
	}
	return int(address.StartPort)
}
