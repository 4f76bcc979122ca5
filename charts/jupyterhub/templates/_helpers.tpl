{{- /* Labels of every object. Not of pods: a new version of the chart must not restart them. */}}
{{- define "jupyterhub.labels" -}}
{{ include "jupyterhub.selector" . }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* Labels of pods and what selects them; `app` and `component` as in Zero to JupyterHub. Takes root, component. */}}
{{- define "jupyterhub.selector" -}}
app: jupyterhub
component: {{ .component }}
app.kubernetes.io/name: jupyterhub
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- /* A name, which may hold a digest, with a tag where there is one. Takes image, key (for the message). */}}
{{- define "jupyterhub.image" -}}
{{- $name := required (printf "%s.name: set the image to run" .key) .image.name -}}
{{- if .image.tag -}}
{{- if contains "@" $name -}}
{{- fail (printf "%s: a name with a digest (%s) takes no tag (%s)" .key $name (toString .image.tag)) -}}
{{- end -}}
{{ $name }}:{{ .image.tag }}
{{- else -}}
{{ $name }}
{{- end -}}
{{- end }}

{{- /* Takes root, image. */}}
{{- define "jupyterhub.pullSecrets" -}}
{{- with concat .root.Values.imagePullSecrets (.image.pullSecrets | default list) }}
imagePullSecrets:
  {{- range . }}
  - name: {{ kindIs "map" . | ternary (get . "name") . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "jupyterhub.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "jupyterhub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* A mapping of names to strings, or to the rest of an EnvVar. */}}
{{- define "jupyterhub.extraEnv" -}}
{{- range $name, $value := . }}
- name: {{ $name | quote }}
  {{- if kindIs "map" $value }}
  {{- omit $value "name" | toYaml | nindent 2 }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Tolerations and affinity of the hub and the proxy. Takes root, tolerations, nodeSelector. */}}
{{- define "jupyterhub.corePlacement" -}}
{{- with .root.Values.scheduling.podPriority }}
{{- if .enabled }}
priorityClassName: {{ $.root.Release.Name }}-core-priority
{{- end }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .root.Values.scheduling.corePods.tolerations .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $match := .root.Values.scheduling.corePods.nodeAffinity.matchNodePurpose }}
{{- if ne $match "ignore" }}
affinity:
  nodeAffinity:
    {{- if eq $match "require" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: hub.jupyter.org/node-purpose, operator: In, values: [core]}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference:
          matchExpressions:
            - {key: hub.jupyter.org/node-purpose, operator: In, values: [core]}
    {{- end }}
{{- end }}
{{- end }}

{{- /* Takes probe, path, port. */}}
{{- define "jupyterhub.probe" -}}
{{- omit .probe "enabled" | toYaml }}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
{{- end }}

{{- /* Base URL without a slash at its end. */}}
{{- define "jupyterhub.basePath" -}}
{{ .Values.hub.baseUrl | trimSuffix "/" }}
{{- end }}

{{- /* A secret of the release: the value given, else the one it has, else a new one. Takes root, value, secret, key. */}}
{{- define "jupyterhub.secretValue" -}}
{{- if .value -}}
{{ .value }}
{{- else -}}
{{- $existing := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- with $existing -}}
{{- with index (.data | default dict) $.key -}}
{{ . | b64dec }}
{{- else -}}
{{ randBytes 32 | b64dec | printf "%x" }}
{{- end -}}
{{- else -}}
{{ randBytes 32 | b64dec | printf "%x" }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Of the data of a template's object, not of its labels: a new version of the chart is no new configuration. */}}
{{- define "jupyterhub.checksum" -}}
{{- $object := include (print .root.Template.BasePath .template) .root | fromYaml -}}
{{- $object.data | toJson | sha256sum -}}
{{- end }}

{{- /* The directory that homes are in, when the chart makes the volume for it. */}}
{{- define "jupyterhub.homesHostPath" -}}
{{- with .Values.singleuser.storage -}}
{{- if eq .type "static" -}}{{ .static.hostPath | default "" }}{{- end -}}
{{- end -}}
{{- end }}
