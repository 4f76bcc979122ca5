{{- /* Labels of every object. Not of pods: a new version of the chart must not restart them. Takes root, component. */}}
{{- define "alerts.labels" -}}
{{ include "alerts.selector" . }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "alerts.selector" -}}
app.kubernetes.io/name: alerts
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "alerts.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "alerts.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "alerts.image" -}}
image: {{ required "image: set the image to run" .Values.image | quote }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
{{- end }}

{{- /* librdkafka's settings as JSON. Takes root, username, password. */}}
{{- define "alerts.kafka" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $settings := dict "bootstrap.servers" (required "kafka.bootstrapServers: say where Kafka is" $kafka.bootstrapServers)
  "security.protocol" $kafka.securityProtocol "sasl.mechanism" "SCRAM-SHA-512"
  "sasl.username" .username "sasl.password" .password -}}
{{- if eq $kafka.securityProtocol "SASL_SSL" -}}
{{- $_ := required "kafka.ca: the authority of the brokers' certificates is needed for SASL_SSL" $kafka.ca -}}
{{- $_ := set $settings "ssl.ca.location" "/etc/alerts/kafka-ca.crt" -}}
{{- end -}}
{{ $settings | toJson }}
{{- end }}

{{- /* The archive, as the programs take it; nothing where there is none. */}}
{{- define "alerts.archive" -}}
{{- with .Values.archive -}}
{{- if .url -}}
{{- $found := dict "url" .url "region" .region -}}
{{- with .endpoint }}{{ $_ := set $found "endpoint" . }}{{ end -}}
{{- if .ca }}{{ $_ := set $found "ca" "/etc/alerts/archive-ca.crt" }}{{ end -}}
{{- if .accessKey -}}
{{- $_ := set $found "access_key" "/etc/alerts/archive-access-key" -}}
{{- $_ := set $found "secret_key" "/etc/alerts/archive-secret-key" -}}
{{- end -}}
{{ $found | toJson }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Files of the archive's, for a Secret's data. */}}
{{- define "alerts.archiveFiles" -}}
{{- with .Values.archive }}
{{- if .url }}
{{- if .accessKey }}
archive-access-key: {{ .accessKey | b64enc }}
archive-secret-key: {{ .secretKey | b64enc }}
{{- end }}
{{- with .ca }}
archive-ca.crt: {{ . | b64enc }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Rules of egress: DNS, and Kafka. */}}
{{- define "alerts.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
- ports:
    - {port: {{ .Values.kafka.port }}, protocol: TCP}
  to:
    {{- range .Values.kafka.cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- else }}
    {{- fail "kafka.cidrs: say where the brokers are, for the NetworkPolicies" }}
    {{- end }}
{{- end }}

{{- define "alerts.archiveEgress" -}}
{{- if .Values.archive.url }}
- ports:
    - {port: {{ .Values.archive.port }}, protocol: TCP}
  to:
    {{- range .Values.archive.cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- else }}
    {{- fail "archive.cidrs: say where the object store is, for the NetworkPolicies" }}
    {{- end }}
{{- end }}
{{- end }}

{{- /* Of the data of a secret: not of its labels. Takes root, template. */}}
{{- define "alerts.digest" -}}
{{- . | toJson | sha256sum -}}
{{- end }}
