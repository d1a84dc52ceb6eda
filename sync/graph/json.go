package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// UnmarshalJSON keeps numbers as json.Number, so that what is read and written
// again is the same byte for byte.
func (p *Properties) UnmarshalJSON(b []byte) error {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return err
	}
	*p = m
	return nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Entity) UnmarshalJSON(b []byte) error {
	var head struct {
		Key   string   `json:"_key"`
		Type  string   `json:"_type"`
		Class []string `json:"_class"`
	}
	var p Properties
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("entity: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("entity %q: %w", head.Key, err)
	}
	if head.Key == "" {
		return errors.New("entity without a _key")
	}
	for _, name := range []string{"_key", "_type", "_class"} {
		delete(p, name)
	}
	*e = Entity{Key: head.Key, Type: head.Type, Class: head.Class, Properties: p}
	return nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Relationship) UnmarshalJSON(b []byte) error {
	var head struct {
		Key     string   `json:"_key"`
		Type    string   `json:"_type"`
		Class   string   `json:"_class"`
		From    string   `json:"_fromEntityKey"`
		To      string   `json:"_toEntityKey"`
		Mapping *Mapping `json:"_mapping"`
	}
	var p Properties
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("relationship: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("relationship %q: %w", head.Key, err)
	}
	if head.Key == "" {
		return errors.New("relationship without a _key")
	}
	for _, name := range []string{"_key", "_type", "_class", "_fromEntityKey", "_toEntityKey", "_mapping"} {
		delete(p, name)
	}
	*r = Relationship{
		Key: head.Key, Type: head.Type, Class: head.Class,
		From: head.From, To: head.To, Mapping: head.Mapping, Properties: p,
	}
	return nil
}
