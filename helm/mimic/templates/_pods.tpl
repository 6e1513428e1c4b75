{{/* What all of our pods share: the restricted Pod Security Standard, and nothing that is written but /tmp. */}}
{{- define "mimic.podSecurity" -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" .Values.runAsUser) }}
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
fsGroup: {{ .Values.runAsUser }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mimic.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
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
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mimic.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* The pod of a hook or test: (dict "root" . "role" "hook" "account" NAME or "" "script" FILE "arguments" list) */}}
{{- define "mimic.scriptPod" -}}
restartPolicy: Never
{{- if .account }}
serviceAccountName: {{ .account }}
{{- else }}
automountServiceAccountToken: false
{{- end }}
enableServiceLinks: false
terminationGracePeriodSeconds: 5
{{- include "mimic.pullSecrets" .root }}
{{- with .root.Values.hooks.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.hooks.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "mimic.podSecurity" .root | nindent 2 }}
containers:
  - name: {{ .role }}
    image: {{ include "mimic.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [python, -c]
    args:
      - |
        {{- .root.Files.Get (printf "files/%s" .script) | nindent 8 }}
      {{- range .arguments }}
      - {{ . | toJson }}
      {{- end }}
    resources:
      {{- toYaml .root.Values.hooks.resources | nindent 6 }}
    securityContext:
      {{- include "mimic.containerSecurity" .root | nindent 6 }}
{{- end -}}
