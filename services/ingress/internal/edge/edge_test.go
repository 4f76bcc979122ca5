package edge

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"armillary/ingress/internal/routes"
)

// These tests load the configuration into the real proxy, and speak to it over real sockets.

var (
	authority *x509.Certificate
	signer    *ecdsa.PrivateKey
	trusted   = x509.NewCertPool()
	settings  Settings
)

func TestMain(m *testing.M) {
	var err error
	if signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	authority = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &signer.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	if authority, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	trusted.AddCert(authority)
	data, err := os.MkdirTemp("", "edge")
	if err != nil {
		panic(err)
	}
	settings = Settings{
		HTTP: freeAddress(), HTTPS: freeAddress(), Ops: freeAddress(), DataDirectory: data, HSTS: time.Hour,
		ProxyProtocol: []string{"127.0.0.2/32"}, Default: certificate("default", "*.test"),
	}
	code := m.Run()
	_ = os.RemoveAll(data)
	os.Exit(code)
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func certificate(name string, hosts ...string) routes.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: hosts, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err)
	}
	return routes.Certificate{
		Name:        name,
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
	}
}

func load(t *testing.T, s Settings, table *routes.Table) {
	t.Helper()
	SetEndpoints(table.Endpoints)
	config, errs := Config(s, table)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if err := Load(config); err != nil {
		t.Fatal(err)
	}
}

// site is a table of one host whose paths lead to backends of their own.
func site(host string, backends map[string]string) *routes.Table {
	table := &routes.Table{Endpoints: map[string][]string{}}
	entry := routes.Host{Name: host}
	for path, address := range backends {
		backend := routes.Backend{Key: host + path, Protocol: routes.HTTP}
		entry.Paths = append(entry.Paths, routes.Path{Path: path, Backend: backend})
		if address != "" {
			table.Endpoints[backend.Key] = []string{address}
		}
	}
	// Longest first, as routes.Build gives them.
	for i := range entry.Paths {
		for j := range i {
			if len(entry.Paths[j].Path) < len(entry.Paths[i].Path) {
				entry.Paths[i], entry.Paths[j] = entry.Paths[j], entry.Paths[i]
			}
		}
	}
	table.Hosts = []routes.Host{entry}
	return table
}

func backend(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func says(t *testing.T, text string) string {
	t.Helper()
	return backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func client() *http.Client {
	dialer := &net.Dialer{}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true, DisableCompression: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				to := settings.HTTPS
				if strings.HasSuffix(address, ":80") {
					to = settings.HTTP
				}
				return dialer.DialContext(ctx, network, to)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, request)
}

func send(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	c := client()
	defer c.CloseIdleConnections()
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestHostsAndPathsLeadToTheirBackends(t *testing.T) {
	table := site("a.test", map[string]string{"/": says(t, "root"), "/foo": says(t, "foo"), "/foo/bar": says(t, "bar")})
	table.Hosts = append(table.Hosts, site("b.test", map[string]string{"/only": ""}).Hosts...)
	table.Hosts = append(table.Hosts, site("*.test", map[string]string{"/": ""}).Hosts...)
	table.Endpoints["*.test/"] = []string{says(t, "wildcard")}
	table.Endpoints["b.test/only"] = []string{says(t, "only")}
	load(t, settings, table)
	for url, want := range map[string]string{
		"https://a.test/":                "root",
		"https://a.test/foo":             "foo",
		"https://a.test/foo/":            "foo",
		"https://a.test/foo/x?q=1":       "foo",
		"https://a.test/foobar":          "root",
		"https://a.test/FOO":             "root",
		"https://a.test/foo/bar/baz":     "bar",
		"https://a.test/x/../foo/bar":    "bar",
		"https://a.test/foo%2Fbar":       "bar",
		"https://b.test/only":            "only",
		"https://other.test/":            "wildcard",
		"https://other.test/deep/er?a=b": "wildcard",
	} {
		if _, body := get(t, url); body != want {
			t.Errorf("%s: %.60q, not %q", url, body, want)
		}
	}
	for _, url := range []string{"https://b.test/", "https://b.test/onlyx"} {
		response, body := get(t, url)
		if response.StatusCode != http.StatusNotFound || !strings.Contains(body, "Nothing here") || strings.Contains(body, "TITLE") {
			t.Errorf("%s: %d %.80q", url, response.StatusCode, body)
		}
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	load(t, settings, &routes.Table{})
	response, _ := get(t, "http://a.test/foo?q=1")
	if response.StatusCode != http.StatusPermanentRedirect || response.Header.Get("Location") != "https://a.test/foo?q=1" {
		t.Fatalf("%d %q", response.StatusCode, response.Header.Get("Location"))
	}
}

func TestBackendsLearnWhoAsks(t *testing.T) {
	echo := backend(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip"} {
			_, _ = fmt.Fprintf(w, "%s=%s ", name, strings.Join(r.Header.Values(name), ","))
		}
		_, _ = io.WriteString(w, "Host="+r.Host)
	})
	load(t, settings, site("a.test", map[string]string{"/": echo}))
	request, _ := http.NewRequest(http.MethodGet, "https://a.test/", nil)
	request.Header.Set("X-Forwarded-For", "6.6.6.6")
	request.Header.Set("X-Real-IP", "6.6.6.6")
	request.Header.Set("X-Forwarded-Host", "evil.test")
	response, body := send(t, request)
	want := "X-Forwarded-For=127.0.0.1 X-Forwarded-Proto=https X-Forwarded-Host=a.test X-Real-Ip=127.0.0.1 Host=a.test"
	if body != want {
		t.Errorf("%s\nnot\n%s", body, want)
	}
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=3600" {
		t.Errorf("HSTS %q", got)
	}
	if response.ProtoMajor != 2 {
		t.Errorf("HTTP/%d", response.ProtoMajor)
	}
}

// A header of the PROXY protocol, version 2: TCP over IPv4 from 203.0.113.7.
var proxyHeader = append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb)

func TestThePROXYHeaderIsBelievedFromBalancersOnly(t *testing.T) {
	echo := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
	load(t, settings, site("a.test", map[string]string{"/": echo}))
	for from, want := range map[string]string{"127.0.0.2": "203.0.113.7", "127.0.0.3": "127.0.0.3"} {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		raw, err := dialer.Dial("tcp", settings.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Write(proxyHeader); err != nil {
			t.Fatal(err)
		}
		secure := tls.Client(raw, &tls.Config{RootCAs: trusted, ServerName: "a.test"})
		_, _ = io.WriteString(secure, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(secure), nil)
		if err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = raw.Close()
		if string(body) != want {
			t.Errorf("from %s: the backend sees %q, not %q", from, body, want)
		}
	}
}

func TestCertificates(t *testing.T) {
	table := site("a.test", map[string]string{"/": says(t, "hello")})
	table.Certificates = []routes.Certificate{certificate("own", "own.example")}
	load(t, settings, table)
	for name, want := range map[string]string{"own.example": "own", "a.test": "default", "unknown.example": "default", "": "default"} {
		connection, err := tls.Dial("tcp", settings.HTTPS, &tls.Config{InsecureSkipVerify: true, ServerName: name}) // only looked at
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if got := connection.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%q gets the certificate %s, not %s", name, got, want)
		}
		_ = connection.Close()
	}
	table.Certificates = append(table.Certificates, routes.Certificate{Name: "x/broken", Certificate: "no", Key: "pair"})
	config, errs := Config(settings, table)
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "x/broken") {
		t.Fatalf("%v", errs)
	}
	if err := Load(config); err != nil {
		t.Fatalf("one broken certificate stops all: %v", err)
	}
}

func echoSocket(t *testing.T) string {
	t.Helper()
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no websocket", http.StatusBadRequest)
			return
		}
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = connection.Close() }()
		_, _ = io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(connection, buffered)
	})
}

type socket struct {
	net.Conn
	reader *bufio.Reader
}

func openSocket(t *testing.T) socket {
	t.Helper()
	secure, err := tls.Dial("tcp", settings.HTTPS, &tls.Config{RootCAs: trusted, ServerName: "a.test", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secure.Close() })
	_ = secure.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(secure, "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	reader := bufio.NewReader(secure)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", response, err)
	}
	return socket{secure, reader}
}

func (s socket) echoes(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(s.reader, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestWebsocketsAndUploadsLiveThroughChanges(t *testing.T) {
	received := make(chan int64, 1)
	upload := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		received <- n
	})
	ws := echoSocket(t)
	before := site("a.test", map[string]string{"/ws": ws, "/upload": upload})
	load(t, settings, before)
	open := openSocket(t)
	open.echoes(t, "before")
	body, feed := io.Pipe()
	request, _ := http.NewRequest(http.MethodPut, "https://a.test/upload", body)
	done := make(chan error, 1)
	go func() {
		response, err := client().Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		done <- err
	}()
	piece := bytes.Repeat([]byte("a"), 1<<20)
	if _, err := feed.Write(piece); err != nil {
		t.Fatal(err)
	}

	// Another route, another certificate, other endpoints.
	after := site("a.test", map[string]string{"/ws": ws, "/upload": upload, "/new": says(t, "new")})
	after.Certificates = []routes.Certificate{certificate("more", "more.example")}
	load(t, settings, after)
	if _, text := get(t, "https://a.test/new"); text != "new" {
		t.Fatalf("the new route says %q", text)
	}
	open.echoes(t, "after")
	delete(after.Endpoints, "a.test/ws")
	SetEndpoints(after.Endpoints)
	open.echoes(t, "after its endpoint has left")
	for range 63 {
		if _, err := feed.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := <-received; n != 64<<20 {
		t.Fatalf("%d bytes arrived", n)
	}
}

func TestEndpointsChangeWithNoNewConfiguration(t *testing.T) {
	table := site("a.test", map[string]string{"/": says(t, "one")})
	load(t, settings, table)
	SetEndpoints(map[string][]string{"a.test/": {says(t, "two")}})
	if _, body := get(t, "https://a.test/"); body != "two" {
		t.Fatalf("%q", body)
	}
	// One of two endpoints is dead: no request fails.
	SetEndpoints(map[string][]string{"a.test/": {freeAddress(), says(t, "alive")}})
	for range 20 {
		if _, body := get(t, "https://a.test/"); body != "alive" {
			t.Fatalf("%.80q", body)
		}
	}
}

func TestABackendThatIsAwayGivesAPage(t *testing.T) {
	load(t, settings, site("a.test", map[string]string{"/": ""}))
	response, body := get(t, "https://a.test/")
	if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "Not answering yet") {
		t.Fatalf("%d %.80q", response.StatusCode, body)
	}
}

func TestLimitsCompressionAndStreams(t *testing.T) {
	release := make(chan struct{})
	table := site("a.test", map[string]string{
		"/small": backend(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}),
		"/text": backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, strings.Repeat("stars ", 1000))
		}),
		"/events": backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: first\n\n")
			w.(http.Flusher).Flush()
			<-release
		}),
	})
	for i := range table.Hosts[0].Paths {
		if table.Hosts[0].Paths[i].Path == "/small" {
			table.Hosts[0].Paths[i].MaxBody = 1024
		}
	}
	load(t, settings, table)

	request, _ := http.NewRequest(http.MethodPost, "https://a.test/small", bytes.NewReader(make([]byte, 4096)))
	if response, _ := send(t, request); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body above the limit: %d", response.StatusCode)
	}
	request, _ = http.NewRequest(http.MethodGet, "https://a.test/text", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	response, body := send(t, request)
	unpacked, err := gzip.NewReader(strings.NewReader(body))
	if err != nil || response.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v %v", response.Header, err)
	}
	if text, _ := io.ReadAll(unpacked); len(text) != 6000 {
		t.Errorf("%d bytes", len(text))
	}

	defer close(release)
	request, _ = http.NewRequest(http.MethodGet, "https://a.test/events", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	stream, err := client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	var events io.Reader = stream.Body
	if stream.Header.Get("Content-Encoding") == "gzip" {
		if events, err = gzip.NewReader(stream.Body); err != nil {
			t.Fatal(err)
		}
	}
	first := make([]byte, 11)
	if _, err := io.ReadFull(events, first); err != nil || string(first) != "data: first" {
		t.Fatalf("an event is held back: %q %v", first, err)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	load(t, settings, site("a.test", map[string]string{"/": says(t, "hello")}))
	get(t, "https://a.test/")
	SetHealth(func(ready bool) error {
		if ready {
			return fmt.Errorf("ending")
		}
		return nil
	})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200} {
		response, err := http.Get("http://" + settings.Ops + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
		if path == "/metrics" && !strings.Contains(string(body), "caddy_http_requests_total") {
			t.Error("no metrics of requests")
		}
	}
}

func TestTheConfigurationNamesTheACMEAuthorityOnlyWhenAsked(t *testing.T) {
	table := &routes.Table{Automatic: []string{"public.example"}}
	config, _ := Config(settings, table)
	if bytes.Contains(config, []byte("public.example")) {
		t.Fatal("asked for a certificate with no authority set")
	}
	with := settings
	with.ACME.CA, with.ACME.Email = "https://acme.test/directory", "admin@test"
	config, _ = Config(with, table)
	for _, want := range []string{`"automate":["public.example"]`, `"ca":"https://acme.test/directory"`} {
		if !bytes.Contains(config, []byte(want)) {
			t.Errorf("%s is not in %s", want, config)
		}
	}
}
