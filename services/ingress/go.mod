module armillary/ingress

go 1.26.0

require (
	github.com/caddyserver/caddy/v2 v2.11.9
	k8s.io/api v0.36.3
	k8s.io/apimachinery v0.36.3
	k8s.io/client-go v0.36.3
)
