{{/* Names. Cluster-wide ones carry namespace and release: two releases stand side by side. */}}
{{- define "mimic.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for the longest suffix in the 63 of a Service's name. Dots are no part of one. */}}
{{- define "mimic.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name := include "mimic.name" . -}}
{{- $full := contains $name $release | ternary $release (printf "%s-%s" $release $name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "mimic.clusterName" -}}
mimic:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end -}}

{{/* The API server calls mutating webhooks in the order of their configurations' names: before istio- and linkerd-,
     so that a mesh sees our container. A namespace has no dot, so no two releases share a name. */}}
{{- define "mimic.configuration" -}}
admission.mimic.dev.{{ .Release.Namespace }}.{{ .Release.Name }}
{{- end -}}

{{/* (dict "root" . "role" "webhook") -> the account's name */}}
{{- define "mimic.account" -}}
{{- $account := (get .root.Values .role).serviceAccount -}}
{{- if and (not $account.create) (not $account.name) -}}
{{- fail (printf "%s.serviceAccount: create is false, so name has to name an existing ServiceAccount" .role) -}}
{{- end -}}
{{- default (printf "%s-%s" (include "mimic.fullname" .root) .role) $account.name -}}
{{- end -}}

{{- define "mimic.certificateSecret" -}}
{{- if eq .Values.certificates.mode "external" -}}
{{- required "certificates.external.secretName: mode external needs the name of a Secret" .Values.certificates.external.secretName -}}
{{- else -}}
{{- include "mimic.fullname" . }}-webhook-tls
{{- end -}}
{{- end -}}

{{- define "mimic.selector" -}}
app.kubernetes.io/name: {{ include "mimic.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
mimic.dev/component: {{ .role }}
{{- end -}}

{{/* (dict "root" . "role" "webhook"). The user's commonLabels come first, so that ours win where both have a key. */}}
{{- define "mimic.labels" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.commonLabels) (include "mimic.ownLabels" . | fromYaml)) -}}
{{- end -}}

{{- define "mimic.ownLabels" -}}
{{ include "mimic.selector" . }}
app.kubernetes.io/component: {{ .role }}
app.kubernetes.io/part-of: mimic
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* (dict "image" .Values.image "root" .) -> reference */}}
{{- define "mimic.imageOf" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "mimic.image" -}}
{{ include "mimic.imageOf" (dict "image" .Values.image "root" .) }}
{{- end -}}

{{- define "mimic.proxyImage" -}}
{{- if .Values.proxy.image.repository -}}
{{ include "mimic.imageOf" (dict "image" .Values.proxy.image "root" .) }}
{{- else -}}
{{ include "mimic.image" . }}
{{- end -}}
{{- end -}}

{{/* (dict "choice" auto|true|false "auto" bool) -> "true" or nothing */}}
{{- define "mimic.chosen" -}}
{{- if eq (toString .choice) "auto" -}}{{ if .auto }}true{{ end }}{{- else if eq (toString .choice) "true" -}}true{{- end -}}
{{- end -}}

{{- define "mimic.prometheus" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}true{{ end -}}
{{- end -}}

{{- define "mimic.confines" -}}
{{- include "mimic.chosen" (dict "choice" .Values.policy.confineReconciler "auto" (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version)) -}}
{{- end -}}
