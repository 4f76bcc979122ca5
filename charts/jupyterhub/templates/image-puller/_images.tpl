{{- /* Every image a user's server can start from, as a list under `images`. */}}
{{- define "jupyterhub.userImages" -}}
{{- $images := list (include "jupyterhub.image" (dict "image" .Values.singleuser.image "key" "singleuser.image")) -}}
{{- range concat .Values.singleuser.initContainers .Values.singleuser.extraContainers -}}
{{- $images = append $images .image -}}
{{- end -}}
{{- if .Values.prePuller.pullProfileListImages -}}
{{- range $_, $profile := .Values.singleuser.profileList -}}
{{- with $profile.kubespawner_override }}{{ with .image }}{{ $images = append $images . }}{{ end }}{{ end -}}
{{- range $_, $option := $profile.profile_options -}}
{{- range $_, $choice := $option.choices -}}
{{- with $choice.kubespawner_override }}{{ with .image }}{{ $images = append $images . }}{{ end }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key, $image := .Values.prePuller.extraImages -}}
{{- $images = append $images (include "jupyterhub.image" (dict "image" $image "key" (printf "prePuller.extraImages.%s" $key))) -}}
{{- end -}}
{{- dict "images" ($images | uniq) | toJson -}}
{{- end }}
