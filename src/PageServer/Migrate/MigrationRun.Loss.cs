using System.Net.Sockets;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.HandOff;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>
/// A frozen process died behind the hand-off: by the kernel's out-of-memory killer, or by somebody's hand. Pages that the destination lacks are gone
/// with it, so that is said there and here, and what is left of the copy, which nothing can ever run again, is removed.
/// </summary>
internal sealed partial class MigrationRun
{
    /// <summary>For the destination to hear of it. If it does not, it finds the source gone, which means the same to it.</summary>
    private static readonly TimeSpan PatienceWithBadNews = TimeSpan.FromSeconds(10);

    private async Task<MigrationOutcome> LoseMemoryAsync(string reason)
    {
        _progress.Stall(reason);
        string? unheard = await TellLossAsync(reason).ConfigureAwait(false);
        if (_state == SourceState.Done)
        {
            return await MovedAsync().ConfigureAwait(false);
        }

        _errors.Add($"{reason}: pages that {_options.Destination} still lacked are lost. The container may be running there; what becomes of its tasks that need them is said there (postcopy status, --on-loss)");
        if (unheard is not null)
        {
            _errors.Add($"the destination was not told ({unheard}): it takes this host for one that is away");
        }

        using CancellationTokenSource deadline = new(CleanUpDeadline);
        try
        {
            if (_freezer is not null)
            {
                await KillAsync().ConfigureAwait(false);
            }
            else
            {
                _criu!.Hook.Answer(yes: true);
                await _checkpointEnded!.WaitAsync(deadline.Token).ConfigureAwait(false);
            }

            await RemoveContainerAsync(deadline.Token).ConfigureAwait(false);
            _isNothingLeft = !_keepFiles;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            _keepFiles = true;
            _errors.Add($"something of the container is left here: {e.Message}");
        }

        return MigrationOutcome.Lost;
    }

    /// <summary>Says it on the control lane, made anew if need be. Returns why that did not work; null when the destination has heard.</summary>
    private async Task<string?> TellLossAsync(string reason)
    {
        using CancellationTokenSource deadline = new(PatienceWithBadNews);
        try
        {
            if (_control is null)
            {
                BeginEpoch();
                await ConnectAsync(deadline.Token).ConfigureAwait(false);
            }

            _control!.Send(FrameKind.MemoryLost, new MemoryLost { Reason = reason });
            while (true)
            {
                // It says goodbye to a source that has nothing more to give; unless it has become independent of that meanwhile.
                _nextMessage ??= _control.ReceiveAsync(CancellationToken.None).AsTask();
                ControlMessage message = await _nextMessage.WaitAsync(deadline.Token).ConfigureAwait(false);
                _nextMessage = null;
                if (message.Kind == FrameKind.Drained)
                {
                    await HandleAsync(message).ConfigureAwait(false);
                    return "it has everything";
                }
            }
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
        {
            return _control is { PeerSaidGoodbye: true } ? null : e.Message;
        }
    }
}
