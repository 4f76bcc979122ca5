{{- /* The content of an entry of extraFiles, base64. */}}
{{- define "jupyterhub.fileData" -}}
{{- if hasKey . "stringData" -}}
{{ .stringData | b64enc }}
{{- else if hasKey . "binaryData" -}}
{{ .binaryData | replace "\n" "" | replace " " "" }}
{{- else -}}
{{- $text := "" -}}
{{- if hasSuffix ".json" .mountPath -}}
{{- $text = toPrettyJson .data -}}
{{- else if hasSuffix ".toml" .mountPath -}}
{{- $text = toToml .data -}}
{{- else if or (hasSuffix ".yaml" .mountPath) (hasSuffix ".yml" .mountPath) -}}
{{- $text = toYaml .data -}}
{{- else -}}
{{- fail (printf "extraFiles: %s: `data` is for .json, .yaml, .yml and .toml; use stringData" .mountPath) -}}
{{- end -}}
{{ $text | b64enc }}
{{- end -}}
{{- end }}
