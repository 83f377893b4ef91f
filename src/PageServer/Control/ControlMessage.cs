using System.Buffers;
using Google.Protobuf;
using PostCopy.Control.Messages;
using PostCopy.Wire;

namespace PostCopy.Control;

/// <summary>One message of the control lane: its kind and, for most kinds, a protobuf body.</summary>
internal readonly record struct ControlMessage(FrameKind Kind, IMessage? Body)
{
    internal T As<T>()
        where T : class, IMessage => Body as T ?? throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: a {Kind} frame came where another was due");

    internal static ControlMessage Parse(FrameKind kind, in ReadOnlySequence<byte> payload)
    {
        MessageParser? parser = kind switch
        {
            FrameKind.Prepare => Prepare.Parser,
            FrameKind.Prepared => Prepared.Parser,
            FrameKind.ImageChunk => ImageChunk.Parser,
            FrameKind.ImagesDone => ImagesDone.Parser,
            FrameKind.Built => Built.Parser,
            FrameKind.Decision => Messages.Decision.Parser,
            FrameKind.Resumed => Resumed.Parser,
            FrameKind.Progress => Progress.Parser,
            FrameKind.Drained => Drained.Parser,
            FrameKind.Cancel => Cancel.Parser,
            FrameKind.NeverRan => NeverRan.Parser,
            FrameKind.Failed => Failed.Parser,
            FrameKind.CheckReport => Messages.CheckReport.Parser,
            FrameKind.Owed => Owed.Parser,
            FrameKind.MemoryLost => MemoryLost.Parser,
            FrameKind.Ask or FrameKind.Discarded or FrameKind.CheckRequest or FrameKind.Freezing => null,
            _ => throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: a {kind} frame has no place here"),
        };
        try
        {
            return new ControlMessage(kind, parser?.ParseFrom(payload));
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: the body of a {kind} frame is malformed: {e.Message}");
        }
    }
}
