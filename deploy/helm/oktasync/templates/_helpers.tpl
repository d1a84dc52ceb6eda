{{- define "oktasync.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "oktasync.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "oktasync.labels" -}}
{{ include "oktasync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "oktasync.image" -}}
{{- $repository := required "image.repository is required: where you pushed the image that the Dockerfile builds" .Values.image.repository }}
{{- if .Values.image.digest }}{{ $repository }}@{{ .Values.image.digest }}{{ else }}{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "oktasync.secret" -}}
{{- required "existingSecret is required: the name of a Secret with redis-url, admin-token, trigger-token and secret-key; see values.yaml" .Values.existingSecret }}
{{- end }}

{{- define "oktasync.scheme" -}}
{{ if .Values.tls.existingSecret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* What of the values belongs to one process; empty if nothing does. */}}
{{- define "oktasync.alone" -}}
{{- if contains "sql:" .Values.sinks }}sinks names a SQLite file (sql:)
{{- else if regexMatch "jsonl:([^-,]|-[^,])" .Values.sinks }}sinks names a file (jsonl:)
{{- else if .Values.dataClaim }}dataClaim names a volume
{{- end }}
{{- end }}

{{/* What cannot work is refused here, not found out at night. */}}
{{- define "oktasync.check" -}}
{{- $alone := include "oktasync.alone" . }}
{{- if and $alone (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) }}
{{- fail (printf "%s, which belongs to one process: set replicas to 1 and autoscaling.enabled to false, or use PostgreSQL, whose address goes into the Secret under the key sinks" $alone) }}
{{- end }}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas: raise it" }}
{{- end }}
{{- if contains "postgres" .Values.sinks }}
{{- fail "sinks names a PostgreSQL, whose address holds a password: leave sinks empty and put the address into the Secret under the key sinks" }}
{{- end }}
{{- $set := dict "OKTASYNC_LISTEN" "service.port" "OKTASYNC_METRICS_LISTEN" "service.metricsPort" "OKTA_CLIENT_ORGURL" "org.url" "JUPITERONE_ACCOUNT" "jupiterone.account" "JUPITERONE_API_BASE_URL" "jupiterone.baseUrl" "OKTASYNC_TRUSTED_PROXIES" "trustedProxies" "GOMEMLIMIT" "goMemoryLimit" }}
{{- range $name, $_ := .Values.env }}
{{- with get $set $name }}
{{- fail (printf "env.%s: the chart sets it, and what rests on it; use the value %s" $name .) }}
{{- end }}
{{- if or (has $name (list "OKTASYNC_REDIS_URL" "OKTASYNC_ADMIN_TOKEN" "OKTASYNC_TRIGGER_TOKEN" "OKTASYNC_SECRET_KEY" "OKTASYNC_SINKS" "OKTASYNC_HOOK_SECRET" "OKTA_CLIENT_TOKEN" "JUPITERONE_API_KEY")) (hasSuffix "_FILE" $name) }}
{{- fail (printf "env.%s: a secret is never a value; put it into the Secret that existingSecret names" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.tls.existingSecret .Values.nightly.events (not .Values.nightly.url) }}
{{- fail "nightly.url is required with tls.existingSecret: an address of the service whose name is in the certificate, as https://oktasync.example.com:8080" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.host is required: the public host that Okta sends to" }}
{{- end }}
{{- end }}

{{- define "oktasync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "oktasync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
