package routes

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](value T) *T { return &value }

type path struct {
	path    string
	exact   bool
	service string
}

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ingress(name, host string, paths ...path) *networking.Ingress {
	rule := networking.IngressRule{Host: host, IngressRuleValue: networking.IngressRuleValue{HTTP: &networking.HTTPIngressRuleValue{}}}
	for _, p := range paths {
		kind := networking.PathTypePrefix
		if p.exact {
			kind = networking.PathTypeExact
		}
		rule.HTTP.Paths = append(rule.HTTP.Paths, networking.HTTPIngressPath{
			Path: p.path, PathType: &kind, Backend: networking.IngressBackend{Service: &networking.IngressServiceBackend{
				Name: p.service, Port: networking.ServiceBackendPort{Number: 80}}},
		})
	}
	born = born.Add(time.Hour)
	return &networking.Ingress{
		ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: name, CreationTimestamp: meta.NewTime(born), Annotations: map[string]string{}},
		Spec:       networking.IngressSpec{IngressClassName: ptr("armillary"), Rules: []networking.IngressRule{rule}},
	}
}

func objects(ingresses ...*networking.Ingress) Objects {
	return Objects{
		Classes: []*networking.IngressClass{
			{ObjectMeta: meta.ObjectMeta{Name: "armillary", Annotations: map[string]string{defaultClass: "true"}},
				Spec: networking.IngressClassSpec{Controller: ControllerName}},
			{ObjectMeta: meta.ObjectMeta{Name: "nginx"}, Spec: networking.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}},
		},
		Ingresses: ingresses,
		Services: []*core.Service{{
			ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: "web"},
			Spec:       core.ServiceSpec{Ports: []core.ServicePort{{Name: "http", Port: 80}, {Name: "api", Port: 81, AppProtocol: ptr("https")}}},
		}},
		Slices: []*discovery.EndpointSlice{{
			ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: "web-1", Labels: map[string]string{discovery.LabelServiceName: "web"}},
			Ports:      []discovery.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8000))}, {Name: ptr("api"), Port: ptr(int32(8001))}},
			Endpoints: []discovery.Endpoint{
				{Addresses: []string{"10.0.0.2"}, Conditions: discovery.EndpointConditions{Ready: ptr(true)}},
				{Addresses: []string{"10.0.0.1"}},
				{Addresses: []string{"10.0.0.3"}, Conditions: discovery.EndpointConditions{Ready: ptr(false), Serving: ptr(true)}},
			},
		}},
	}
}

func faults(errs []error) string { return fmt.Sprint(errs) }

// https://kubernetes.io/docs/concepts/services-networking/ingress/#multiple-matches
func TestThePathsOfAHostComeInTheOrderOfTheSpecification(t *testing.T) {
	table, errs := Build(objects(
		ingress("a", "h", path{"/", false, "web"}, path{"/foo", false, "web"}, path{"/foo/bar", false, "web"}),
		ingress("b", "h", path{"/foo", true, "web"}, path{"/foo/", true, "web"})))
	if len(errs) > 0 || len(table.Hosts) != 1 {
		t.Fatalf("%v %v", errs, table.Hosts)
	}
	var got []string
	for _, p := range table.Hosts[0].Paths {
		got = append(got, fmt.Sprint(p.Path, " ", p.Exact))
	}
	want := []string{"/foo/bar false", "/foo/ true", "/foo true", "/foo false", "/ false"}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, not %v", got, want)
	}
}

func TestHostsComeWholeThenWildcardThenAny(t *testing.T) {
	p := path{"/", false, "web"}
	table, _ := Build(objects(ingress("a", "", p), ingress("b", "*.h", p), ingress("c", "B.h", p), ingress("d", "a.h", p)))
	var got []string
	for _, host := range table.Hosts {
		got = append(got, host.Name)
	}
	if strings.Join(got, ",") != "a.h,b.h,*.h," {
		t.Fatalf("%v", got)
	}
}

func TestOnlyOurClassCounts(t *testing.T) {
	other, none, unknown := ingress("a", "h"), ingress("b", "h"), ingress("c", "h")
	other.Spec.IngressClassName = ptr("nginx")
	none.Spec.IngressClassName = nil
	unknown.Spec.IngressClassName = ptr("gone")
	got := Ours(objects(other, none, unknown))
	if len(got) != 1 || got[0].Name != "b" {
		t.Fatalf("%v", got)
	}
	all := objects(none)
	all.Classes[0].Annotations = nil
	if got := Ours(all); len(got) != 0 {
		t.Fatalf("no class is the default one, yet %v", got)
	}
}

func TestTheOlderIngressKeepsAPath(t *testing.T) {
	older := ingress("older", "h", path{"/", false, "web"})
	younger := ingress("younger", "h", path{"/", false, "other"})
	table, errs := Build(objects(younger, older))
	if table.Hosts[0].Paths[0].Ingress != "x/older" || !strings.Contains(faults(errs), "x/younger: h/ belongs to the older Ingress x/older") {
		t.Fatalf("%v %v", table.Hosts, errs)
	}
}

func TestEndpointsAreTheReadyOnes(t *testing.T) {
	all := objects(ingress("a", "h", path{"/", false, "web"}))
	table, _ := Build(all)
	if got := table.Endpoints["x/web:80"]; !slices.Equal(got, []string{"10.0.0.1:8000", "10.0.0.2:8000"}) {
		t.Fatalf("%v", got)
	}
	all.Slices[0].Endpoints = all.Slices[0].Endpoints[2:]
	if table, _ = Build(all); !slices.Equal(table.Endpoints["x/web:80"], []string{"10.0.0.3:8000"}) {
		t.Fatalf("none is ready, so the ending one that still serves: %v", table.Endpoints)
	}
}

func TestWhatCannotBeServedIsNamed(t *testing.T) {
	body := ingress("body", "h", path{"/", false, "web"})
	body.Annotations[AnnotationMaxBody] = "much"
	protocol := ingress("protocol", "h", path{"/p", false, "web"})
	protocol.Annotations[AnnotationProtocol] = "gopher"
	missing := ingress("missing", "h", path{"/m", false, "nobody"})
	port := ingress("port", "h", path{"/n", false, "web"})
	port.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port = networking.ServiceBackendPort{Name: "nope"}
	outside := ingress("outside", "h", path{"/o", false, "elsewhere"})
	secret := ingress("secret", "h", path{"/s", false, "web"})
	secret.Spec.TLS = []networking.IngressTLS{{Hosts: []string{"h"}, SecretName: "none"}}
	all := objects(body, protocol, missing, port, outside, secret)
	all.Services = append(all.Services, &core.Service{
		ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: "elsewhere"},
		Spec:       core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "169.254.169.254"}})
	table, errs := Build(all)
	for _, want := range []string{
		`x/body: ingress.armillary.io/max-body-size: "much" is not a size`, `x/protocol: h/p: ingress.armillary.io/backend-protocol: "gopher"`,
		"x/missing: h/m: service x/nobody is missing", "x/port: h/n: service x/web has no port nope",
		"x/outside: h/o: service x/elsewhere is of type ExternalName", "x/secret: secret x/none is missing",
	} {
		if !strings.Contains(faults(errs), want) {
			t.Errorf("%q is not in %v", want, errs)
		}
	}
	if n := len(table.Hosts[0].Paths); n != 5 {
		t.Errorf("%d paths, not 5: those without endpoints answer 503, and the one without a limit is left out", n)
	}
	if len(table.Endpoints["x/elsewhere:80"]) != 0 {
		t.Error("ExternalName has endpoints")
	}
}

func TestProtocols(t *testing.T) {
	named := ingress("a", "h", path{"/", false, "web"})
	named.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port = networking.ServiceBackendPort{Name: "api"}
	table, _ := Build(objects(named))
	if got := table.Hosts[0].Paths[0].Backend; got.Protocol != HTTPS || got.ServerName != "web.x.svc" {
		t.Fatalf("%v", got)
	}
	named.Annotations[AnnotationProtocol] = "h2c"
	if table, _ = Build(objects(named)); table.Hosts[0].Paths[0].Backend.Protocol != H2C {
		t.Fatalf("%v", table.Hosts)
	}
}
