package etcd

import (
	"context"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger lets etcd speak to l, a step more quietly than it wants to: it warns
// every few seconds of each peer that is away, which haechi reports in its own words. What it
// calls fatal ends the goroutine, not the tower, after fatal has heard of it: a full disk
// must not take the page with it that says so.
func logger(l *slog.Logger, fatal func(string)) *zap.Logger {
	stop := hook(fatal)
	return zap.New(core{l: l}, zap.WithFatalHook(stop), zap.WithPanicHook(stop))
}

type core struct {
	l      *slog.Logger
	fields []zapcore.Field
}

var levels = map[zapcore.Level]slog.Level{
	zapcore.DebugLevel:  slog.LevelDebug - 8,
	zapcore.InfoLevel:   slog.LevelDebug - 4,
	zapcore.WarnLevel:   slog.LevelDebug,
	zapcore.ErrorLevel:  slog.LevelWarn,
	zapcore.DPanicLevel: slog.LevelError,
	zapcore.PanicLevel:  slog.LevelError,
	zapcore.FatalLevel:  slog.LevelError,
}

func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.PanicLevel || c.l.Enabled(context.Background(), levels[l])
}

func (c core) With(f []zapcore.Field) zapcore.Core {
	return core{l: c.l, fields: append(c.fields[:len(c.fields):len(c.fields)], f...)}
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	args := []any{"part", "etcd"}
	for k, v := range enc.Fields {
		args = append(args, k, v)
	}
	c.l.Log(context.Background(), levels[e.Level], e.Message, args...)
	return nil
}

func (c core) Sync() error { return nil }

// hook is called after a fatal line was written.
type hook func(string)

func (h hook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	enc := zapcore.NewMapObjectEncoder()
	why := e.Message
	for _, f := range fields {
		if f.AddTo(enc); f.Key == "error" {
			if s, ok := enc.Fields["error"].(string); ok {
				why += ": " + s
			}
		}
	}
	h(why)
	runtime.Goexit()
}
