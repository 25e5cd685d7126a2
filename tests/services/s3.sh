# S3: versitygw over a folder. It honours If-None-Match and If-Match on PUT, as S3 and MinIO do, in 40 MB of memory.
# It cannot hold a key `x` beside `x/y`.

S3_MODULE=github.com/versity/versitygw/cmd/versitygw
S3_VERSION=v1.8.0

s3_install() {
  local bin=$SOFTWARE/bin/versitygw
  [ ! -x "$bin" ] || return 0
  command -v go >/dev/null 2>&1 || die "s3: needs Go 1.21 or newer to build versitygw once (it fetches the tool chain it wants)"
  say "s3: building versitygw $S3_VERSION (once, some minutes)"
  CGO_ENABLED=0 GOBIN=$SOFTWARE/bin go install -trimpath -ldflags='-s -w' "$S3_MODULE@$S3_VERSION" >"$SOFTWARE/versitygw.log" 2>&1 ||
    { tail -20 "$SOFTWARE/versitygw.log" >&2; die "s3: building versitygw failed"; }
}

s3_start() {
  need_free_port s3 "$S3_PORT" MARU_TEST_S3_PORT
  mkdir -p "$STATE/s3/data" "$STATE/s3/iam"
  daemon s3 env ROOT_ACCESS_KEY_ID="$S3_ACCESS_KEY" ROOT_SECRET_ACCESS_KEY="$S3_SECRET_KEY" \
    "$SOFTWARE/bin/versitygw" --port "127.0.0.1:$S3_PORT" --region us-east-1 --quiet --keep-alive --health /health \
    --iam-dir "$STATE/s3/iam" posix "$STATE/s3/data"
  wait_until s3 30 s3_ready
}

s3_ready() { curl -fs -o /dev/null "http://127.0.0.1:$S3_PORT/health"; }
s3_running() { alive s3 "$STATE/s3" && s3_ready; }
s3_stop() { end s3 "$STATE/s3"; }
s3_wipe() { rm -rf "$STATE/s3"; }
s3_env() {
  echo "export MARU_TEST_S3=http://127.0.0.1:$S3_PORT"
  echo "export MARU_TEST_S3_ACCESS_KEY=$S3_ACCESS_KEY"
  echo "export MARU_TEST_S3_SECRET_KEY=$S3_SECRET_KEY"
}
