{{/* What each process may do where MimicBackends are served: a ClusterRole's rules, or those of a Role in each namespace.
     No verb on Secrets stands here: the operator names them, and kubelets mount them. */}}
{{- define "mimic.permissions.webhook" -}}
- apiGroups: [mimic.dev]
  resources: [mimicbackends]
  verbs: [get, list, watch]
# Revisions: what is injected.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch]
# The workload behind a pod, to which Events are posted.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "mimic.permissions.reconciler" -}}
# It writes spec.suspend, when it is told to release all workloads, and nothing else of them.
- apiGroups: [mimic.dev]
  resources: [mimicbackends]
  verbs: [get, list, watch, patch]
- apiGroups: [mimic.dev]
  resources: [mimicbackends/status]
  verbs: [patch]
# Workloads that are selected, and the Deployments of shared proxies.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets, daemonsets]
  verbs: [get, list, watch, patch]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, patch]
# How far a rollout is, and who runs without a proxy.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- if .Values.reconciler.evictMissing }}
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
# What a MimicBackend consists of.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, get, list, watch]
{{- end -}}

{{/* What is cluster-wide by nature, each object by its name where there is one. */}}
{{- define "mimic.clusterPermissions.webhook" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
  {{- with .Values.watchNamespaces }}
  resourceNames: {{ toJson . }}
  {{- end }}
{{- if not .Values.watchNamespaces }}
- apiGroups: [mimic.dev]
  resources: [clustermimicbackends]
  verbs: [list]
{{- end }}
{{- end -}}

{{- define "mimic.clusterPermissions.reconciler" -}}
{{- if not .Values.watchNamespaces }}
# ClusterMimicBackends: the namespaces that they admit, and the MimicBackend that each of these gets.
- apiGroups: [mimic.dev]
  resources: [clustermimicbackends]
  verbs: [get, list, watch]
- apiGroups: [mimic.dev]
  resources: [clustermimicbackends/status]
  verbs: [patch]
- apiGroups: [mimic.dev]
  resources: [mimicbackends]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
# It writes nothing where the schema is older than itself.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get]
  resourceNames: [mimicbackends.mimic.dev]
{{- if not .Values.watchNamespaces }}
# Whether another operator, which a MimicBackend's status names, is still there.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get]
{{- end }}
{{- if eq .Values.certificates.mode "self" }}
# Their caBundle. Lists and watches have to ask for the one name.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations]
  verbs: [get, list, watch, patch]
  resourceNames: [{{ include "mimic.configuration" . }}]
{{- end }}
{{- end -}}
