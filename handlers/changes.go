package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

const (
	// heartbeat is how long a quiet stream stays silent, so that neither end nor
	// anything between them takes it for dead.
	heartbeat = 15 * time.Second

	// maxStreams bounds the streams that are open at once.
	maxStreams = 100
)

var positionForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// changes streams what happens to the graph as server-sent events. The id of an
// event is its position: a reader that comes back with it in Last-Event-ID
// misses nothing and sees nothing twice.
func (a *api) changes(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		return errStreams
	}
	if err := withoutReadDeadline(c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	go func() { // a stopping service does not wait for readers to leave
		select {
		case <-a.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()

	position, err := a.startPosition(ctx, c, id)
	if err != nil {
		return err
	}
	w := progressWriter{c.Response()}
	admitted := time.Now()
	for batch, err := range a.engine.Follow(ctx, id, position, a.heartbeat) {
		if err != nil {
			// The first look comes before the headers: a position that is gone is a
			// 410. Later the stream ends, the reader comes back with its last id, and
			// is told then what is the matter.
			return fmt.Errorf("read the changes of %s: %w", id, err)
		}
		if !c.Response().Committed {
			if err := open(c, w, id, position); err != nil {
				return nil // the reader left
			}
		}
		if time.Since(admitted) >= a.heartbeat {
			if err := a.still(c); err != nil {
				return nil // signed out: the reader comes back, and is told so then
			}
			admitted = time.Now()
		}
		out, err := encodeChanges(batch)
		if err != nil {
			return fmt.Errorf("stream the changes of %s: %w", id, err)
		}
		if _, err := w.Write(out); err != nil {
			return nil
		}
		w.Flush()
	}
	return nil
}

// open begins a stream.
func open(c echo.Context, w progressWriter, id, position string) error {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.Response().WriteHeader(http.StatusOK)
	// An id without data raises no event, but lets a reader that is cut off
	// before the first change resume here.
	opening := ": changes of " + id + "\n\n"
	if position != "" {
		opening = "id: " + position + "\n\n"
	}
	_, err := w.Write([]byte(opening))
	return err
}

// startPosition is where a reader starts: where it stopped, at the oldest kept
// change if it says so, or now.
func (a *api) startPosition(ctx context.Context, c echo.Context, id string) (string, error) {
	if last := c.Request().Header.Get("Last-Event-ID"); last != "" {
		if !positionForm.MatchString(last) {
			return "", &invalidError{Detail: "the header Last-Event-ID must hold the id of an event of this stream"}
		}
		return last, nil
	}
	switch from := c.QueryParam("from"); from {
	case "start":
		return "", nil
	case "", "now":
		position, err := a.engine.LastPosition(ctx, id)
		if err != nil {
			return "", fmt.Errorf("find the end of the changes of %s: %w", id, err)
		}
		return position, nil
	default:
		return "", invalid([]fieldError{{"from", "from must be start or now"}})
	}
}

// encodeChanges writes a batch as events, or a comment that keeps a quiet stream
// alive.
func encodeChanges(batch []engine.FeedChange) ([]byte, error) {
	if len(batch) == 0 {
		return []byte(": heartbeat\n\n"), nil
	}
	var out []byte
	for _, fc := range batch {
		data, err := json.Marshal(fc.Change) // in one line, always
		if err != nil {
			return nil, fmt.Errorf("the change at %s: %w", fc.Position, err)
		}
		out = fmt.Appendf(out, "id: %s\ndata: %s\n\n", fc.Position, data)
	}
	return out, nil
}
