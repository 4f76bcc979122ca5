// Package routes turns Ingress objects and what they refer to into a table of routes, and knows nothing of any proxy.
package routes

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// ControllerName is what an IngressClass of ours has in spec.controller.
	ControllerName = "armillary.io/ingress"
	// AnnotationProtocol: HTTP (as without it), H2C or HTTPS. Without it the service port's appProtocol counts.
	AnnotationProtocol = "ingress.armillary.io/backend-protocol"
	// AnnotationMaxBody: the largest request body, such as 512Mi. Without it there is no limit.
	AnnotationMaxBody = "ingress.armillary.io/max-body-size"
	defaultClass      = "ingressclass.kubernetes.io/is-default-class"
)

// Protocol is how a backend is spoken to.
type Protocol string

// The protocols of backends.
const (
	HTTP  Protocol = "HTTP"
	H2C   Protocol = "H2C"
	HTTPS Protocol = "HTTPS"
)

// Backend is one port of a service. Its Key names its endpoints.
type Backend struct {
	Key        string
	Protocol   Protocol
	ServerName string // of the certificate, for HTTPS
}

// Path is one path of a host.
type Path struct {
	Path    string
	Exact   bool
	Backend Backend
	MaxBody int64  // bytes; 0: no limit
	Ingress string // namespace/name, for messages
}

// Host is a host name (a first label "*" stands for any label; "" for any host) and its paths, first match first.
type Host struct {
	Name  string
	Paths []Path
}

// Certificate is a pair in PEM.
type Certificate struct {
	Name             string // namespace/name of its secret
	Certificate, Key string
}

// Table is all that the proxy has to know; hosts come in the order in which they are to be tried.
type Table struct {
	Hosts        []Host
	Certificates []Certificate
	Automatic    []string            // host names that ask for TLS and name no secret
	Endpoints    map[string][]string // backend key: host:port of its ready endpoints
}

// Objects are what the table follows from.
type Objects struct {
	Classes   []*networking.IngressClass
	Ingresses []*networking.Ingress
	Services  []*core.Service
	Slices    []*discovery.EndpointSlice
	Secrets   map[string]*core.Secret // namespace/name; nil: asked for, and not there or not readable
}

// Ours gives the ingresses of classes whose controller this is, oldest first: of two that claim the same path of the
// same host the older keeps it.
func Ours(objects Objects) []*networking.Ingress {
	classes := map[string]bool{}
	isDefault := false
	for _, class := range objects.Classes {
		if class.Spec.Controller == ControllerName {
			classes[class.Name] = true
			isDefault = isDefault || class.Annotations[defaultClass] == "true"
		}
	}
	var ours []*networking.Ingress
	for _, ingress := range objects.Ingresses {
		if name := ingress.Spec.IngressClassName; name != nil && classes[*name] || name == nil && isDefault {
			ours = append(ours, ingress)
		}
	}
	slices.SortFunc(ours, func(a, b *networking.Ingress) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return ours
}

type builder struct {
	services map[string]*core.Service
	slices   map[string][]*discovery.EndpointSlice
	table    *Table
	hosts    map[string][]Path
	faults   []error
}

// Build gives the table. What cannot be served is left out, and named in the returned errors.
func Build(objects Objects) (*Table, []error) {
	b := &builder{
		services: map[string]*core.Service{}, slices: map[string][]*discovery.EndpointSlice{},
		table: &Table{Endpoints: map[string][]string{}}, hosts: map[string][]Path{},
	}
	for _, service := range objects.Services {
		b.services[service.Namespace+"/"+service.Name] = service
	}
	for _, slice := range objects.Slices {
		key := slice.Namespace + "/" + slice.Labels[discovery.LabelServiceName]
		b.slices[key] = append(b.slices[key], slice)
	}
	for _, ingress := range Ours(objects) {
		b.add(ingress, objects.Secrets)
	}
	for name, paths := range b.hosts {
		slices.SortStableFunc(paths, byPrecedence)
		b.table.Hosts = append(b.table.Hosts, Host{Name: name, Paths: paths})
	}
	slices.SortFunc(b.table.Hosts, byName)
	slices.Sort(b.table.Automatic)
	b.table.Automatic = slices.Compact(b.table.Automatic)
	return b.table, b.faults
}

func (b *builder) fault(ingress *networking.Ingress, format string, arguments ...any) {
	b.faults = append(b.faults, fmt.Errorf("Ingress %s/%s: %w", ingress.Namespace, ingress.Name, fmt.Errorf(format, arguments...)))
}

func (b *builder) add(ingress *networking.Ingress, secrets map[string]*core.Secret) {
	var maxBody int64
	if text, found := ingress.Annotations[AnnotationMaxBody]; found {
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Value() <= 0 {
			// A limit that is not understood must not become no limit.
			b.fault(ingress, "%s: %q is not a size such as 512Mi; the Ingress is not served", AnnotationMaxBody, text)
			return
		}
		maxBody = quantity.Value()
	}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			b.path(ingress, rule.Host, "/", false, ingress.Spec.DefaultBackend, maxBody)
			continue
		}
		for _, path := range rule.HTTP.Paths {
			exact := path.PathType != nil && *path.PathType == networking.PathTypeExact
			text := path.Path
			if text == "" {
				text = "/"
			}
			b.path(ingress, rule.Host, text, exact, &path.Backend, maxBody)
		}
	}
	if ingress.Spec.DefaultBackend != nil {
		b.path(ingress, "", "/", false, ingress.Spec.DefaultBackend, maxBody)
	}
	b.certificates(ingress, secrets)
}

func (b *builder) path(
	ingress *networking.Ingress, host, path string, exact bool, to *networking.IngressBackend, maxBody int64,
) {
	if to == nil || to.Service == nil {
		b.fault(ingress, "%s%s has no backend that is a service", host, path)
		return
	}
	host = strings.ToLower(host)
	for _, other := range b.hosts[host] {
		if other.Path == path && other.Exact == exact {
			if other.Ingress != ingress.Namespace+"/"+ingress.Name {
				b.fault(ingress, "%s%s belongs to the older Ingress %s", host, path, other.Ingress)
			}
			return
		}
	}
	backend, err := b.backend(ingress, to.Service)
	if err != nil {
		b.fault(ingress, "%s%s: %w", host, path, err)
	}
	// A path whose service is missing is kept: it must answer 503, and not fall to a shorter path's backend.
	b.hosts[host] = append(b.hosts[host], Path{
		Path: path, Exact: exact, Backend: backend, MaxBody: maxBody, Ingress: ingress.Namespace + "/" + ingress.Name,
	})
}

func (b *builder) backend(ingress *networking.Ingress, to *networking.IngressServiceBackend) (Backend, error) {
	portText := to.Port.Name
	if portText == "" {
		portText = strconv.Itoa(int(to.Port.Number))
	}
	of := ingress.Namespace + "/" + to.Name
	backend := Backend{Key: of + ":" + portText, Protocol: HTTP, ServerName: to.Name + "." + ingress.Namespace + ".svc"}
	service, found := b.services[of]
	if !found {
		return backend, fmt.Errorf("service %s is missing", of)
	}
	if service.Spec.Type == core.ServiceTypeExternalName {
		return backend, fmt.Errorf("service %s is of type ExternalName, which would let an Ingress reach any host", of)
	}
	at := slices.IndexFunc(service.Spec.Ports, func(port core.ServicePort) bool {
		return to.Port.Name != "" && port.Name == to.Port.Name || to.Port.Name == "" && port.Port == to.Port.Number
	})
	if at < 0 {
		return backend, fmt.Errorf("service %s has no port %s", of, portText)
	}
	port := service.Spec.Ports[at]
	protocol, err := protocolOf(ingress, port)
	if err != nil {
		return backend, err
	}
	backend.Protocol = protocol
	b.table.Endpoints[backend.Key] = b.endpoints(of, port.Name)
	return backend, nil
}

func protocolOf(ingress *networking.Ingress, port core.ServicePort) (Protocol, error) {
	if text, found := ingress.Annotations[AnnotationProtocol]; found {
		protocol := Protocol(strings.ToUpper(text))
		if protocol != HTTP && protocol != H2C && protocol != HTTPS {
			return HTTP, fmt.Errorf("%s: %q is not HTTP, H2C or HTTPS", AnnotationProtocol, text)
		}
		return protocol, nil
	}
	if port.AppProtocol != nil {
		switch *port.AppProtocol {
		case "https":
			return HTTPS, nil
		case "kubernetes.io/h2c":
			return H2C, nil
		}
	}
	return HTTP, nil
}

// endpoints gives the ready ones; where there is none, those that end but still serve.
func (b *builder) endpoints(service, port string) []string {
	var ready, ending []string
	for _, slice := range b.slices[service] {
		at := slices.IndexFunc(slice.Ports, func(p discovery.EndpointPort) bool {
			return (p.Name == nil && port == "" || p.Name != nil && *p.Name == port) && p.Port != nil
		})
		if at < 0 || slice.AddressType == discovery.AddressTypeFQDN {
			continue
		}
		number := strconv.Itoa(int(*slice.Ports[at].Port))
		for _, endpoint := range slice.Endpoints {
			if len(endpoint.Addresses) == 0 {
				continue
			}
			address := net.JoinHostPort(endpoint.Addresses[0], number)
			switch conditions := endpoint.Conditions; {
			case conditions.Ready == nil || *conditions.Ready:
				ready = append(ready, address)
			case conditions.Serving != nil && *conditions.Serving:
				ending = append(ending, address)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

func (b *builder) certificates(ingress *networking.Ingress, secrets map[string]*core.Secret) {
	for _, tls := range ingress.Spec.TLS {
		if tls.SecretName == "" {
			b.table.Automatic = append(b.table.Automatic, tls.Hosts...)
			continue
		}
		name := ingress.Namespace + "/" + tls.SecretName
		if slices.ContainsFunc(b.table.Certificates, func(c Certificate) bool { return c.Name == name }) {
			continue
		}
		secret := secrets[name]
		if secret == nil {
			b.fault(ingress, "secret %s is missing or may not be read; the default certificate is used", name)
			continue
		}
		b.table.Certificates = append(b.table.Certificates, Certificate{
			Name: name, Certificate: string(secret.Data[core.TLSCertKey]), Key: string(secret.Data[core.TLSPrivateKeyKey]),
		})
	}
}

// SecretNames gives the secrets that the ingresses refer to, as namespace/name.
func SecretNames(ingresses []*networking.Ingress) (names []string) {
	for _, ingress := range ingresses {
		for _, tls := range ingress.Spec.TLS {
			if tls.SecretName != "" {
				names = append(names, ingress.Namespace+"/"+tls.SecretName)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// byPrecedence: the longest path first, and of two equal ones the exact:
// https://kubernetes.io/docs/concepts/services-networking/ingress/#multiple-matches
func byPrecedence(a, b Path) int {
	if a.Exact != b.Exact && strings.TrimSuffix(a.Path, "/") == strings.TrimSuffix(b.Path, "/") {
		if a.Exact {
			return -1
		}
		return 1
	}
	return len(b.Path) - len(a.Path)
}

// byName: whole names first, then those with a wildcard, then the one for any host.
func byName(a, b Host) int {
	if order := rank(a.Name) - rank(b.Name); order != 0 {
		return order
	}
	return strings.Compare(a.Name, b.Name)
}

func rank(host string) int {
	switch {
	case host == "":
		return 2
	case strings.HasPrefix(host, "*."):
		return 1
	}
	return 0
}
