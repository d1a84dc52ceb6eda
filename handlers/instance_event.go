package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"
	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

// instanceEvent is what a scheduler sends: an instance, and the wish to read it.
// Fields that it does not know it leaves alone: schedulers send more than we use.
// Without hookSecrets those that are stored stay, since a rotation may have
// changed them; [] takes them away.
type instanceEvent struct {
	Instance struct {
		ID        string `json:"id" validate:"required,instanceid"`
		Name      string `json:"name" validate:"max=256"`
		AccountID string `json:"accountId" validate:"max=256"`
		Config    struct {
			OktaOrgURL  string   `json:"oktaOrgUrl" validate:"required,max=1024"`
			OktaAPIKey  string   `json:"oktaApiKey" validate:"required,max=4096,headervalue"`
			HookSecrets []string `json:"hookSecrets" validate:"max=2,dive,min=16,max=4096,headervalue"`
			Ingest      struct {
				Factors *bool `json:"factors"` // absent: true
			} `json:"ingest"`
		} `json:"config"`
	} `json:"instance"`
	Mode string `json:"mode" validate:"omitempty,mode"`
}

// instanceEvent registers or updates an instance and starts a run, or answers
// with the one that is at work.
func (a *api) instanceEvent(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	var ev instanceEvent
	if err := decode(c, &ev, lenient); err != nil {
		return err
	}
	in := ev.Instance
	fields := check(&ev)
	orgURL := in.Config.OktaOrgURL
	if orgURL != "" {
		var err error
		if orgURL, err = okta.ParseOrgURL(orgURL, a.AllowInsecure); err != nil {
			const field = "instance.config.oktaOrgUrl"
			fields = append(fields, fieldError{field, field + ": " + strings.TrimPrefix(err.Error(), "org URL: ")})
		}
	}
	if err := invalid(fields); err != nil {
		return err
	}
	ctx := c.Request().Context()
	if err := a.engine.Register(ctx, engine.Instance{
		ID:          in.ID,
		Name:        in.Name,
		AccountID:   in.AccountID,
		OrgURL:      orgURL,
		Token:       in.Config.OktaAPIKey,
		HookSecrets: in.Config.HookSecrets,
		Factors:     in.Config.Ingest.Factors == nil || *in.Config.Ingest.Factors,
	}); err != nil {
		return fmt.Errorf("register %s: %w", in.ID, err)
	}
	secrets, err := a.engine.HookSecrets(ctx, in.ID)
	if err != nil {
		return fmt.Errorf("read the hook secrets of %s: %w", in.ID, err)
	}
	if len(secrets) == 0 {
		a.Log.Warn("the instance has no hook secrets, and Okta's deliveries for it are refused: its event must bring hookSecrets", "instance", in.ID)
	}
	run, err := a.engine.StartRun(ctx, in.ID, engine.Start{Mode: ev.Mode, Trigger: "instance-event"})
	if err != nil {
		return fmt.Errorf("start a run of %s: %w", in.ID, err)
	}
	return accepted(c, run)
}

// accepted answers 202 with the run, and where to look at it.
func accepted(c echo.Context, run engine.Run) error {
	c.Response().Header().Set(echo.HeaderLocation, "/admin/runs/"+run.ID)
	return c.JSON(http.StatusAccepted, run)
}

// strictness says what decode does with a field that nobody knows.
type strictness bool

const (
	strict  strictness = true
	lenient strictness = false
)

// decode reads a JSON body into v. No body is {}.
func decode(c echo.Context, v any, s strictness) error {
	body, err := readBody(c, maxJSON, time.Now().Add(readTimeout))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	case err != nil: // the caller's fault, never one of the service
		return &invalidError{Detail: "the body broke off, or is not encoded as HTTP asks"}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if s == strict {
		dec.DisallowUnknownFields()
	}
	err = dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			return &invalidError{Detail: "the body must hold one JSON object and nothing after it"}
		}
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return invalid([]fieldError{{wrong.Field, fmt.Sprintf("%s must be %s", wrong.Field, jsonType(wrong.Type))}})
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = fmt.Sprintf("%.64s", strings.Trim(name, `"`)) // which may be all of the body
		return invalid([]fieldError{{name, name + " is not a field of this request"}})
	}
	// The decoder's own text quotes what was sent.
	return &invalidError{Detail: fmt.Sprintf("the body is not a JSON object: error near byte %d", dec.InputOffset())}
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

var validate = newValidator()

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	})
	for tag, ok := range map[string]func(string) bool{
		"instanceid":  instanceID.MatchString,
		"headervalue": func(s string) bool { return printable(s) && strings.TrimSpace(s) == s },
		"mode":        func(s string) bool { return slices.Contains(engine.Modes, s) },
		"letter":      engine.LetterForm.MatchString,
	} {
		if err := v.RegisterValidation(tag, func(f validator.FieldLevel) bool { return ok(f.Field().String()) }); err != nil {
			panic(err) // a tag of ours that validator refuses
		}
	}
	return v
}

// check returns what is wrong with the fields of v, each named by its JSON path.
func check(v any) []fieldError {
	var wrong validator.ValidationErrors
	if !errors.As(validate.Struct(v), &wrong) {
		return nil
	}
	var fields []fieldError
	for _, f := range wrong {
		_, path, _ := strings.Cut(f.Namespace(), ".") // the first part is the Go type
		fields = append(fields, fieldError{path, path + " " + rule(f)})
	}
	return fields
}

// rule says what a field must be, without what it is: it may be a secret.
func rule(f validator.FieldError) string {
	unit := "characters"
	if f.Kind() == reflect.Slice {
		unit = "items"
	}
	switch f.Tag() {
	case "required":
		return "is required"
	case "min":
		return fmt.Sprintf("must have at least %s %s", f.Param(), unit)
	case "max":
		return fmt.Sprintf("must have at most %s %s", f.Param(), unit)
	case "instanceid":
		return "must be 1 to 64 letters, digits, _ or -"
	case "headervalue":
		return "must be printable ASCII without space at its ends: it is sent as a header"
	case "mode":
		return "must be one of: " + strings.Join(engine.Modes, ", ")
	case "letter":
		return "must be the id of a dead letter"
	default:
		return "must hold to the rule " + f.Tag()
	}
}

// invalid returns the error that lists fields, or nil if there are none.
func invalid(fields []fieldError) error {
	if len(fields) == 0 {
		return nil
	}
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = f.Detail
	}
	return &invalidError{Detail: strings.Join(texts, "; "), Fields: fields}
}
