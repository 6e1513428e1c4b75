{{/* Security contexts: (dict "root" . "role" "webhook"). A process may override what all pods share. */}}
{{- define "mimic.podSecurity" -}}
{{- $own := (get .root.Values .role).podSecurityContext | default dict -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.podSecurityContext) (deepCopy $own)) -}}
{{- end -}}

{{- define "mimic.containerSecurity" -}}
{{- $own := (get .root.Values .role).securityContext | default dict -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.securityContext) (deepCopy $own)) -}}
{{- end -}}

{{/* (dict "root" . "role" "webhook") -> the address families of a Service */}}
{{- define "mimic.ipFamilies" -}}
{{- with (get .root.Values .role).service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with (get .root.Values .role).service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "mimic.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* {cpu: 25m, memory: 96Mi} -> cpu=25m,memory=96Mi */}}
{{- define "mimic.amounts" -}}
{{- $amounts := list -}}
{{- range $name, $amount := . }}{{ $amounts = append $amounts (printf "%s=%v" $name $amount) }}{{ end -}}
{{- join "," $amounts -}}
{{- end -}}

{{/* Settings of both processes. */}}
{{- define "mimic.environment" -}}
- name: MIMIC_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: MIMIC_IMAGE
  value: {{ include "mimic.proxyImage" . | quote }}
- name: MIMIC_IMAGE_PULL_POLICY
  value: {{ .Values.proxy.image.pullPolicy }}
- name: PROXY_REQUESTS
  value: {{ include "mimic.amounts" .Values.proxy.resources.requests | quote }}
- name: PROXY_LIMITS
  value: {{ include "mimic.amounts" .Values.proxy.resources.limits | quote }}
- name: WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: WEBHOOK_CONFIGURATION
  value: {{ include "mimic.configuration" . | quote }}
- name: WEBHOOK_SERVICE
  value: {{ include "mimic.fullname" . }}-webhook
- name: CERT_MODE
  value: {{ .Values.certificates.mode }}
- name: CERT_SECRET
  value: {{ include "mimic.certificateSecret" . | quote }}
- name: METRICS_PORT
  value: "8080"
- name: LOG_LEVEL
  value: {{ .Values.logging.level }}
- name: LOG_FORMAT
  value: {{ .Values.logging.format }}
{{- end -}}

{{- define "mimic.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* (dict "root" . "role" "webhook") -> where the pods of a process may be */}}
{{- define "mimic.placement" -}}
{{- $values := get .root.Values .role -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "mimic.selector" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $selector)) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

